package host

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// Registries is what Podman reads of registries: for an ordinary user, whose home is given, the user's own files count before the
// machine's. Source: containers-registries.conf(5), containers-registries.conf.d(5).
type Registries struct {
	Machine Machine
	Home    string // empty: root's Podman
}

// dirs are where the files are, the one that counts most first.
func (r Registries) dirs() []string {
	dirs := []string{"/etc/containers"}
	if r.Home != "" {
		dirs = append([]string{filepath.Join(r.Home, ".config/containers")}, dirs...)
	}
	return dirs
}

// DropIn is a file in which settings of a registry may be put.
func (r Registries) DropIn(registry string) string {
	return filepath.Join(r.dirs()[0], "registries.conf.d", "insecure-"+strings.NewReplacer(":", "-", "[", "", "]", "").Replace(registry)+".conf")
}

// Insecure reports whether Podman is told to use a registry without TLS or with any certificate.
func (r Registries) Insecure(registry string) (insecure bool) {
	for _, text := range r.files() {
		var f struct {
			Registry []struct {
				Location, Prefix string
				Insecure         bool
			}
			Registries struct { // of the first version
				Insecure struct{ Registries []string }
			}
		}
		if toml.Unmarshal(text, &f) != nil {
			continue // Podman says so itself
		}
		for _, one := range f.Registry {
			if one.Prefix == "" {
				one.Prefix = one.Location
			}
			host, _, _ := strings.Cut(one.Prefix, "/")
			domain, wild := strings.CutPrefix(host, "*")
			if host == registry || wild && strings.HasSuffix(registry, domain) {
				insecure = insecure || one.Insecure
			}
		}
		insecure = insecure || slices.Contains(f.Registries.Insecure.Registries, registry)
	}
	return insecure
}

// files are the contents of all files that count.
func (r Registries) files() (all [][]byte) {
	add := func(path string) bool {
		text, err := os.ReadFile(path)
		if err == nil {
			all = append(all, text)
		}
		return err == nil
	}
	dirs := r.dirs()
	for _, dir := range dirs {
		if add(r.Machine.at(filepath.Join(dir, "registries.conf"))) {
			break
		}
	}
	for _, dir := range dirs {
		parts, _ := filepath.Glob(r.Machine.at(filepath.Join(dir, "registries.conf.d/*.conf"))) // the pattern is fine
		for _, part := range parts {
			add(part)
		}
	}
	return all
}
