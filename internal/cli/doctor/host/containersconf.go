package host

import (
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
)

// DefaultLocks is how many locks Podman makes unless it is told otherwise.
const DefaultLocks = 2048

// ContainersConf is what Podman reads of itself: for an ordinary user, whose home is given, the user's own files after the machine's.
// Source: containers.conf(5).
type ContainersConf struct {
	Machine Machine
	Home    string // empty: root's Podman
}

// LocksFile is a file in which the number of locks may be set, so that it counts.
func (c ContainersConf) LocksFile() string {
	dir := "/etc/containers"
	if c.Home != "" {
		dir = filepath.Join(c.Home, ".config/containers")
	}
	return filepath.Join(dir, "containers.conf.d/90-locks.conf")
}

// Locks is how many Podman makes.
func (c ContainersConf) Locks() int {
	n := DefaultLocks
	for _, file := range c.files() {
		text, err := os.ReadFile(file)
		var f struct {
			Engine struct {
				NumLocks int `toml:"num_locks"`
			}
		}
		if err == nil && toml.Unmarshal(text, &f) == nil && f.Engine.NumLocks > 0 {
			n = f.Engine.NumLocks
		}
	}
	return n
}

// files are all that count, the later ones more.
func (c ContainersConf) files() (all []string) {
	dirs := []string{"/etc/containers"}
	if c.Home != "" {
		dirs = append(dirs, filepath.Join(c.Home, ".config/containers"))
	}
	all = append(all, c.Machine.at("/usr/share/containers/containers.conf"))
	for _, dir := range dirs {
		parts, _ := filepath.Glob(c.Machine.at(filepath.Join(dir, "containers.conf.d/*.conf"))) // the pattern is fine
		all = append(append(all, c.Machine.at(filepath.Join(dir, "containers.conf"))), parts...)
	}
	return all
}
