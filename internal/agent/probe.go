package agent

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/socketfile"
)

// The files of a probe, beside each other in its state directory.
const (
	ProbeNonce  = "nonce"      // written by the runner before the probe is started
	ProbeSocket = "probe.sock" // on which the probe says the nonce
)

// ProbeListens is the line that a probe writes to its standard output once its runner can connect.
const ProbeListens = "the probe listens"

// probeTime is how long a probe waits for its runner.
const probeTime = time.Minute

// probe proves to a runner that it has a directory, a kernel and the agent's program in common with this
// container: it says the nonce to the first who connects. A directory without the nonce is an error.
func probe(out io.Writer) error {
	d, err := dir()
	if err != nil {
		return err
	}
	nonce, err := os.ReadFile(filepath.Join(d, ProbeNonce))
	if err != nil {
		return fmt.Errorf("read the runner's nonce: %w", err)
	}
	path := filepath.Join(d, ProbeSocket)
	l, err := socketfile.Listen(path, 0o777) // for the runner, who has another uid
	if err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	defer func() {
		_ = l.Close()
		_ = os.Remove(path)
	}()
	if err := l.SetDeadline(time.Now().Add(probeTime)); err != nil {
		return fmt.Errorf("make a socket: %w", err)
	}
	_, _ = fmt.Fprintln(out, ProbeListens) // nobody needs it who connects
	conn, err := l.Accept()
	if err != nil {
		return fmt.Errorf("wait for the runner: %w", err)
	}
	defer conn.Close()
	_, err = conn.Write(bytes.TrimSpace(nonce))
	return err
}
