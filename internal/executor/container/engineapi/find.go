package engineapi

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Find completes an address: what the configuration says, else the environment's DOCKER_HOST or
// CONTAINER_HOST, else the first socket that is there: this user's Podman, the machine's Podman, this
// user's Docker, the machine's Docker.
func Find(a Address, getenv func(string) string) (Address, error) {
	if a.Host == "" {
		a.Host = getenv("DOCKER_HOST")
		if a.Host != "" && a.CertPath == "" && getenv("DOCKER_TLS_VERIFY") != "" {
			a.CertPath, a.Verify = getenv("DOCKER_CERT_PATH"), true
		}
	}
	if a.Host == "" {
		a.Host = getenv("CONTAINER_HOST")
	}
	if a.Host != "" {
		if !strings.Contains(a.Host, "://") {
			return a, fmt.Errorf("the engine's address %q has no scheme: write it as unix:///run/podman/podman.sock or tcp://HOST:PORT", a.Host)
		}
		return a, nil
	}
	run := getenv("XDG_RUNTIME_DIR")
	if run == "" && os.Getuid() != 0 {
		run = filepath.Join("/run/user", strconv.Itoa(os.Getuid()))
	}
	var paths []string
	if run != "" && os.Getuid() != 0 {
		paths = append(paths, filepath.Join(run, "podman/podman.sock"))
	}
	paths = append(paths, "/run/podman/podman.sock")
	if run != "" {
		paths = append(paths, filepath.Join(run, "docker.sock"))
	}
	paths = append(paths, "/run/docker.sock", "/var/run/docker.sock")
	for _, path := range paths {
		if i, err := os.Stat(path); err == nil && i.Mode().Type() == os.ModeSocket {
			a.Host = "unix://" + path
			return a, nil
		}
	}
	return a, errors.New("no container engine was found (looked for " + strings.Join(paths, ", ") +
		"): start one, for example with `systemctl --user enable --now podman.socket`, or set `host` in [runners.docker]")
}
