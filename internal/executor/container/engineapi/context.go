package engineapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// dockerContext is the engine that `docker context use` has chosen, or the environment's DOCKER_CONTEXT;
// the zero Address when that is the default. Source: docker/cli cli/context/store, its layout on disk.
func (f Finder) dockerContext() (Address, error) {
	dir := f.Getenv("DOCKER_CONFIG")
	if dir == "" {
		home := f.Getenv("HOME")
		if home == "" {
			return Address{}, nil
		}
		dir = filepath.Join(home, ".docker")
	}
	name := f.Getenv("DOCKER_CONTEXT")
	if name == "" {
		var config struct {
			CurrentContext string `json:"currentContext"`
		}
		if raw, err := os.ReadFile(filepath.Join(dir, "config.json")); err != nil || json.Unmarshal(raw, &config) != nil {
			return Address{}, nil //nolint:nilerr // whoever needs the file's credentials complains
		}
		name = config.CurrentContext
	}
	if name == "" || name == "default" {
		return Address{}, nil
	}
	sum := sha256.Sum256([]byte(name))
	id := hex.EncodeToString(sum[:])
	raw, err := os.ReadFile(filepath.Join(dir, "contexts/meta", id, "meta.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return Address{}, fmt.Errorf("the docker command's context %q is not there: choose another with `docker context use`, or set `host` in [runners.docker]", name)
	}
	if err != nil {
		return Address{}, fmt.Errorf("read the docker command's context %q: %w", name, err)
	}
	var meta struct {
		Endpoints map[string]struct {
			Host          string `json:"Host"`
			SkipTLSVerify bool   `json:"SkipTLSVerify"`
		} `json:"Endpoints"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return Address{}, fmt.Errorf("read the docker command's context %q: %w", name, err)
	}
	a := Address{Host: meta.Endpoints["docker"].Host}
	tls := filepath.Join(dir, "contexts/tls", id, "docker")
	if _, err := os.Stat(tls); err == nil {
		a.CertPath, a.Verify = tls, !meta.Endpoints["docker"].SkipTLSVerify
	}
	if a.Host == "" {
		return Address{}, fmt.Errorf("the docker command's context %q names no engine: set `host` in [runners.docker]", name)
	}
	return a, nil
}
