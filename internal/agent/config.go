package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/nixstore/gateway"
	"gitlab.com/skerry/skerry/internal/nixstore/nixjob"
)

// ConfigName is the file beside the agent's executable that holds its Config.
const ConfigName = "agent.json"

// SockName is the name of the agent's socket in its directory for sockets.
const SockName = "agent.sock"

// Config is what an executor tells an agent before it starts. All of it may be left out.
type Config struct {
	// SockDir is where agent.sock is made, relative to the agent's directory; default "sock".
	SockDir string `json:"sock_dir,omitempty"`
	// Shared is for containers: the directory of the socket is shared with the runner alone, who may
	// have any uid here, so the socket gets mode 0777 and peers are not checked. Without it the socket has mode
	// 0600 and only the agent's own user and root may connect.
	Shared bool `json:"shared,omitempty"`
	// Announce has the agent write Serving on its standard output and on its standard error before it answers: what
	// the entrypoint before it has written is then known to be whole.
	Announce bool `json:"announce,omitempty"`
	// Lease holds until the first handover sets another; default one hour.
	Lease time.Duration `json:"lease,omitempty"`
	// Umask is that of every process of the place; nil leaves what the agent was started with.
	Umask *int `json:"umask,omitempty"`
	// Open are directories, of volumes of the job, that are opened to everybody before the agent answers.
	Open []string `json:"open,omitempty"`
	// SpoolCap and SpoolTail are spool.Options' Cap and Tail.
	SpoolCap  int64 `json:"spool_cap,omitempty"`
	SpoolTail int64 `json:"spool_tail,omitempty"`
	// Env are variables that every process of the place has, KEY=VALUE, whatever the image or its entrypoint says of them.
	Env []string `json:"env,omitempty"`
	// Nix is the gateway to a Nix daemon that the agent keeps for the job; nil: none. Its socket is there before the
	// agent answers, until every process of the job has ended.
	Nix *gateway.Config `json:"nix,omitempty"`
	// Confined keeps the place's processes from unix sockets and from the agent (proc.Reaper.Confine): what hooks and git run is
	// the job's, too, and the daemon's socket is not.
	Confined bool `json:"confined,omitempty"`
	// NixJob makes the place ready for Nix before the agent answers; nil: there is none.
	NixJob *nixjob.Config `json:"nix_job,omitempty"`
}

// Write stores c in an agent's directory, readable for the user that the agent will run as.
func (c Config) Write(dir string) error {
	return writeJSON(filepath.Join(dir, ConfigName), c, 0o644)
}

func readConfig(dir string) (c Config, err error) {
	b, err := os.ReadFile(filepath.Join(dir, ConfigName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("read the agent's configuration: %w", err)
	}
	if err == nil {
		d := json.NewDecoder(bytes.NewReader(b))
		if err := d.Decode(&c); err != nil {
			return c, fmt.Errorf("read the agent's configuration %s: %w", filepath.Join(dir, ConfigName), err)
		}
	}
	if c.Lease <= 0 {
		c.Lease = time.Hour
	}
	return c, nil
}

func (c Config) sockDir(dir string) string {
	switch {
	case c.SockDir == "":
		return filepath.Join(dir, "sock")
	case filepath.IsAbs(c.SockDir):
		return c.SockDir
	default:
		return filepath.Join(dir, c.SockDir)
	}
}

func (c Config) spool() spool.Options { return spool.Options{Cap: c.SpoolCap, Tail: c.SpoolTail} }
