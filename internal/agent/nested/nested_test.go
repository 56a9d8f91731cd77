package nested_test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
)

// TestEngineHasItsSocket runs a shell for an engine, which says what it was given.
func TestEngineHasItsSocket(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	const engine = `test "$LISTEN_PID" = $$ && echo for it: $LISTEN_FDS
		case $(readlink /proc/$$/fd/3) in socket:*) echo a socket;; esac
		stat -c %a "$0"
		(sleep 0 &)
		exit 3`
	cmd := exec.CommandContext(t.Context(), agenttest.Static(t), "nested", socket, "sh", "-c", engine, socket)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if got := string(out); got != "for it: 1\na socket\n777\n" {
		t.Errorf("the engine was given %q", got)
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) || said.String() != "skerry-agent: sh ended with exit code 3\n" {
		t.Errorf("it ended with %v: %s", err, said.String())
	}
}

// TestEngineIsEnded has the program end its engine when it is told to stop; who connects before the engine accepts is kept.
func TestEngineIsEnded(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	cmd := exec.CommandContext(t.Context(), agenttest.Static(t), "nested", socket, "sh", "-c", `trap 'echo over; exit 0' TERM; echo up; while :; do sleep 0.01; done`)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 16)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "up\n" {
		t.Fatalf("%q %v", line[:n], err)
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if n, err := out.Read(line); err != nil || string(line[:n]) != "over\n" {
		t.Errorf("%q %v", line[:n], err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestEngineIsAwaited until it answers, whatever that is; the socket is there before.
func TestEngineIsAwaited(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "engine.sock")
	cmd := exec.CommandContext(t.Context(), agenttest.Static(t), "nested-await", socket)
	var said strings.Builder
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, said.String())
	}
}
