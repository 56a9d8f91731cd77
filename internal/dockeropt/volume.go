package dockeropt

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Volume is an entry of volumes.
type Volume struct {
	Source string // a directory of the host, the name of a volume, or empty: a volume of the job's own project
	Path   string // in the containers; may be relative to the project directory, may hold variables
	Mode   string // "ro,z"; empty: none given
}

// engineName is what engines take for the name of a volume, a network or a container.
var engineName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]*$`)

// ParseVolume reads "PATH", "HOSTDIR:PATH[:MODE]" or "NAME:PATH[:MODE]".
func ParseVolume(s string) (Volume, error) {
	bad := func(why string) (Volume, error) {
		return Volume{}, fmt.Errorf("must be \"/path\", \"/host/path:/path[:ro]\" or \"name:/path[:ro]\", is %q: %s", s, why)
	}
	parts := strings.Split(s, ":")
	var v Volume
	switch len(parts) {
	case 1:
		v.Path = parts[0]
	case 2:
		v.Source, v.Path = parts[0], parts[1]
	case 3:
		v.Source, v.Path, v.Mode = parts[0], parts[1], parts[2]
	default:
		return bad("it has too many colons")
	}
	switch {
	case v.Path == "":
		return bad("the path in the container is missing")
	case len(parts) > 1 && v.Source == "":
		return bad("what is before the colon is missing")
	case v.Source != "" && !path.IsAbs(v.Source) && !engineName.MatchString(v.Source):
		return bad(fmt.Sprintf("%q is neither an absolute directory nor the name of a volume", v.Source))
	case len(parts) == 3 && !validMode(v.Mode):
		return bad(fmt.Sprintf("%q is not a list of ro, rw, z, Z, O, U, nocopy, shared, slave, private, rshared, rslave, rprivate", v.Mode))
	}
	return v, nil
}

func validMode(mode string) bool {
	for m := range strings.SplitSeq(mode, ",") {
		switch m {
		case "ro", "rw", "z", "Z", "O", "U", "nocopy", "shared", "slave", "private", "rshared", "rslave", "rprivate", "RO", "RW":
		default:
			return false
		}
	}
	return true
}

// Place returns where the volume is in the containers: its path with variables replaced, a relative one below
// the project directory.
func (v Volume) Place(expand func(string) string, project string) (string, error) {
	p := v.Path
	if expand != nil {
		p = expand(p)
	}
	if !path.IsAbs(p) {
		p = path.Join(project, p)
	}
	p = path.Clean(p)
	if p == "/" || !path.IsAbs(p) || strings.Contains(p, ":") {
		return "", fmt.Errorf("the volume's path %q means %q in the container, where nothing can be mounted", v.Path, p)
	}
	if Within(p, ours) {
		return "", fmt.Errorf("the volume's path %q lies in %s, which is the runner's own", v.Path, ours)
	}
	return p, nil
}

// Tmpfs checks where a file system in memory is to be.
func Tmpfs(p string) error {
	switch clean := path.Clean(p); {
	case !path.IsAbs(p) || clean == "/" || strings.Contains(p, ":"):
		return fmt.Errorf("must be an absolute path in the container such as \"/tmp\", is %q", p)
	case Within(clean, ours):
		return fmt.Errorf("%q lies in %s, which is the runner's own", p, ours)
	}
	return nil
}

// ours is where the runner's own files are in containers.
const ours = "/.skerry"

// Within reports whether p is dir or below it; both are clean.
func Within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

// HoldsPrograms reports whether who can write to a volume at p, which is clean, has a say in which programs, libraries and settings
// an engine in a container is made of: p is, is above or is in one of its directories.
func HoldsPrograms(p string) bool {
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/lib", "/usr/share/containers", "/run/user", "/var/run/user"} {
		if Within(dir, p) {
			return true
		}
	}
	for _, dir := range []string{"/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec", "/etc/containers", "/home/podman"} {
		if Within(dir, p) || Within(p, dir) {
			return true
		}
	}
	return false
}

// ReadOnly reports whether a mode of a volume says so.
func ReadOnly(mode string) bool {
	return slices.ContainsFunc(strings.Split(mode, ","), func(m string) bool { return strings.EqualFold(m, "ro") })
}

// VolumesFrom reads "CONTAINER[:ro|rw|z]".
func VolumesFrom(s string) error {
	name, mode, has := strings.Cut(s, ":")
	if !engineName.MatchString(name) || has && !validMode(mode) {
		return fmt.Errorf("must be \"CONTAINER\" or \"CONTAINER:ro\", is %q", s)
	}
	return nil
}
