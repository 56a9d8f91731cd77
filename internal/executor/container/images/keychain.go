package images

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Keychain is what the runner's user has of logins: Docker's and Podman's files, and the helper programs
// that they name.
type Keychain struct {
	Home   string              // the user's; empty: no files are looked for
	Getenv func(string) string // nil: an empty environment
}

const (
	hubServer = "https://index.docker.io/v1/" // what Docker calls Docker Hub in its files
	anyHost   = "*"                           // the path of a credential store, which may know every host

	maxConfig     = 1 << 20
	helperTimeout = 30 * time.Second
)

func (k Keychain) getenv(key string) string {
	if k.Getenv == nil {
		return ""
	}
	return k.Getenv(key)
}

// files are those that exist, Docker's before Podman's.
func (k Keychain) files() []string {
	var paths []string
	add := func(dir string, parts ...string) {
		if dir != "" {
			paths = append(paths, filepath.Join(append([]string{dir}, parts...)...))
		}
	}
	add(k.getenv("DOCKER_CONFIG"), "config.json")
	add(k.Home, ".docker", "config.json")
	add(k.Home, ".dockercfg")
	add(k.getenv("REGISTRY_AUTH_FILE"))
	add(k.getenv("XDG_RUNTIME_DIR"), "containers", "auth.json")
	add(k.Home, ".config", "containers", "auth.json")
	return slices.DeleteFunc(paths, func(p string) bool {
		_, err := os.Stat(p)
		return errors.Is(err, os.ErrNotExist)
	})
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxConfig))
}

// dockerConfig is the part of Docker's config.json, and of Podman's auth.json, that is about logins.
type dockerConfig struct {
	Auths map[string]struct {
		Auth          string `json:"auth"`
		Username      string `json:"username"`
		Password      string `json:"password"`
		IdentityToken string `json:"identitytoken"`
	} `json:"auths"`
	CredsStore  string            `json:"credsStore"`
	CredHelpers map[string]string `json:"credHelpers"`
}

// helperName keeps a job's own configuration from naming a program outside of PATH's directories.
var helperName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

// parseConfig returns the entries of a configuration, helpers before what it holds itself. It returns
// what it could read beside an error.
func parseConfig(raw []byte, source string) ([]entry, error) {
	var c dockerConfig
	if err := json.Unmarshal(raw, &c); err != nil {
		return nil, fmt.Errorf("it is no JSON of Docker's config.json: %w", err)
	}
	var errs []error
	var out []entry
	for server, helper := range c.CredHelpers {
		if !helperName.MatchString(helper) {
			errs = append(errs, fmt.Errorf("%q is no name of a credential helper (path traversal is not allowed)", helper))
			continue
		}
		out = append(out, entry{path: registryPath(server), source: source, helper: helper, server: server})
	}
	if c.CredsStore != "" {
		if helperName.MatchString(c.CredsStore) {
			out = append(out, entry{path: anyHost, source: source, helper: c.CredsStore})
		} else {
			errs = append(errs, fmt.Errorf("%q is no name of a credential store (path traversal is not allowed)", c.CredsStore))
		}
	}
	for server, a := range c.Auths {
		l := Login{Username: a.Username, Password: a.Password, Token: a.IdentityToken}
		if a.Auth != "" {
			user, password, err := basicAuth(a.Auth)
			if err != nil {
				errs = append(errs, fmt.Errorf("auths[%q]: %w", server, err))
				continue
			}
			l.Username, l.Password = user, password
		}
		out = append(out, entry{path: registryPath(server), source: source, login: l})
	}
	return out, errors.Join(errs...)
}

func basicAuth(auth string) (user, password string, err error) {
	raw, err := base64.StdEncoding.DecodeString(auth)
	if err != nil {
		return "", "", errors.New("auth is no base64 of USER:PASSWORD")
	}
	user, password, ok := strings.Cut(string(raw), ":")
	if !ok || user == "" {
		return "", "", errors.New("auth is no base64 of USER:PASSWORD")
	}
	return user, strings.Trim(password, "\x00"), nil
}

// ask runs a credential helper. One that knows no login is no error.
func (k Keychain) ask(ctx context.Context, e entry, path string) (Login, error) {
	server := e.server
	if e.path == anyHost {
		server = path
		if server == dockerHub {
			server = hubServer
		}
	}
	ctx, cancel := context.WithTimeout(ctx, helperTimeout)
	defer cancel()
	name := "docker-credential-" + e.helper
	cmd := exec.CommandContext(ctx, name, "get")
	cmd.Stdin = strings.NewReader(server)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	said := strings.TrimSpace(string(out) + stderr.String())
	if err != nil {
		if strings.Contains(said, "credentials not found") {
			return Login{}, nil
		}
		return Login{}, fmt.Errorf("%s get %s: %w: %.200s", name, server, err, said)
	}
	var answer struct{ Username, Secret string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return Login{}, fmt.Errorf("%s get %s: its answer is no JSON", name, server)
	}
	if answer.Username == "<token>" {
		return Login{Token: answer.Secret}, nil
	}
	return Login{Username: answer.Username, Password: answer.Secret}, nil
}
