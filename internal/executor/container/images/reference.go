// Package images brings the images of a job to its engine: which may be used at all, when they are
// pulled and with whose login, and who may use one that is there already.
//
// # One name
//
// A name is read once, by Docker's rules, to one canonical reference: lists of allowed images judge that
// reference, logins are looked up for it, and the engine is given nothing else. So neither an alias of a
// registry nor what Podman's short names would mean leads to another image than the one that was judged.
//
// # Private images
//
// An image that is present was perhaps brought by somebody's login. Before a job may use it without a
// pull, its own login has to have been proven for that very content: by a pull, or by asking the registry
// through the engine. Proofs are kept in the runner's state, see Record.
package images

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/distribution/reference"
)

const (
	dockerHub   = "docker.io"
	defaultTag  = "latest"
	officialDir = "library/"
	localHost   = "localhost" // Podman's name for what was built on the machine
	httpsPort   = ":443"
)

// Reference is the name of an image, taken apart.
type Reference struct {
	given  string
	id     string // "sha256:…", when the name is the ID of an image that the engine has
	host   string // lower case, "docker.io" where the name has none
	path   string // "library/ruby"
	tag    string // empty with a digest alone
	digest string // "sha256:…"
}

// hubHosts are names of Docker Hub.
func hubHost(host string) bool {
	switch strings.TrimSuffix(host, httpsPort) {
	case dockerHub, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return true
	default:
		return false
	}
}

var (
	imageID = regexp.MustCompile(`^(sha256:)?([0-9a-f]{64})$`)

	errNoImageName = errors.New("the image's name is empty")
)

// Parse reads the name of an image as Docker does, short names standing for Docker Hub.
func Parse(given string) (Reference, error) {
	r := Reference{given: given}
	if given == "" {
		return r, errNoImageName
	}
	if m := imageID.FindStringSubmatch(given); m != nil {
		r.id = "sha256:" + m[2]
		return r, nil
	}
	name := given
	if first, rest, ok := strings.Cut(given, "/"); ok {
		lower := strings.ToLower(first)
		if lower != first && !strings.ContainsAny(first, ".:") && lower != localHost {
			return r, fmt.Errorf("image %q: %q is neither a registry's host, which has a dot or a port, nor in lower case", given, first)
		}
		name = lower + "/" + rest
	}
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return r, fmt.Errorf("image %q: %w", given, err)
	}
	r.host, r.path = reference.Domain(named), reference.Path(named)
	if hubHost(r.host) {
		r.host = dockerHub
		if !strings.Contains(r.path, "/") {
			r.path = officialDir + r.path
		}
	}
	if t, ok := named.(reference.Tagged); ok {
		r.tag = t.Tag()
	}
	if d, ok := named.(reference.Digested); ok {
		r.digest = d.Digest().String()
	}
	if r.tag == "" && r.digest == "" {
		r.tag = defaultTag
	}
	return r, nil
}

// String is the name as it was given.
func (r Reference) String() string { return r.given }

// Repository is the name without tag and digest, complete: "docker.io/library/ruby". Empty for an ID.
func (r Reference) Repository() string {
	if r.id != "" {
		return ""
	}
	return r.host + "/" + r.path
}

// Canonical is what the engine is given. A tag beside a digest means nothing, and is left out.
func (r Reference) Canonical() string {
	switch {
	case r.id != "":
		return r.id
	case r.digest != "":
		return r.Repository() + "@" + r.digest
	default:
		return r.Repository() + ":" + r.tag
	}
}

// atDigest is the repository of r at a digest.
func (r Reference) atDigest(digest string) string { return r.Repository() + "@" + digest }

// local reports whether r names, by Podman's custom, what was made on the machine.
func (r Reference) local() bool { return r.host == localHost }

// repositories are all ways to write the repository.
func (r Reference) repositories() []string {
	if r.host != dockerHub {
		if bare, ok := strings.CutSuffix(r.host, httpsPort); ok {
			return []string{r.Repository(), bare + "/" + r.path}
		}
		return []string{r.Repository(), r.host + httpsPort + "/" + r.path}
	}
	paths := []string{r.path}
	if short, ok := strings.CutPrefix(r.path, officialDir); ok && !strings.Contains(short, "/") {
		paths = append(paths, short)
	}
	var all []string
	for _, p := range paths {
		for _, host := range []string{"", dockerHub + "/", "index." + dockerHub + "/"} {
			all = append(all, host+p)
		}
	}
	return all
}
