package engineapi_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// host makes a directory for a machine's sockets; those of listens accept connections, those of dead do not.
func host(t *testing.T, listens, dead []string) string {
	t.Helper()
	root, err := os.MkdirTemp("", "skf") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	for i, path := range append(listens, dead...) {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		l.SetUnlinkOnClose(false)
		if i >= len(listens) {
			_ = l.Close()
			continue
		}
		t.Cleanup(func() { _ = l.Close() })
	}
	return root
}

func TestFind(t *testing.T) {
	t.Parallel()
	const own, podman, ownDocker, docker = "run/user/7/podman/podman.sock", "run/podman/podman.sock", "run/user/7/docker.sock", "run/docker.sock"
	for name, c := range map[string]struct {
		asked         engineapi.Address
		env           map[string]string
		uid           int
		listens, dead []string
		want          engineapi.Address // a path is one below the root
	}{
		"the configuration's":              {asked: engineapi.Address{Host: "tcp://e:1", CertPath: "/c", Verify: true}, env: map[string]string{"DOCKER_HOST": "tcp://x:1"}, want: engineapi.Address{Host: "tcp://e:1", CertPath: "/c", Verify: true}},
		"the environment's for Docker":     {env: map[string]string{"DOCKER_HOST": "tcp://x:1", "CONTAINER_HOST": "unix:///p", "DOCKER_CERT_PATH": "/c", "DOCKER_TLS_VERIFY": "1"}, want: engineapi.Address{Host: "tcp://x:1", CertPath: "/c", Verify: true}},
		"the environment's for Podman":     {env: map[string]string{"CONTAINER_HOST": "unix:///p"}, want: engineapi.Address{Host: "unix:///p"}},
		"this user's Podman":               {uid: 7, listens: []string{own, podman, ownDocker, docker}, want: engineapi.Address{Host: own}},
		"the machine's Podman":             {uid: 7, listens: []string{podman, ownDocker, docker}, want: engineapi.Address{Host: podman}},
		"this user's Docker":               {uid: 7, listens: []string{ownDocker, docker}, want: engineapi.Address{Host: ownDocker}},
		"the machine's Docker":             {uid: 7, listens: []string{docker}, want: engineapi.Address{Host: docker}},
		"root's":                           {listens: []string{own, ownDocker, podman, docker}, want: engineapi.Address{Host: podman}},
		"one that listens":                 {uid: 7, listens: []string{docker}, dead: []string{own, podman}, want: engineapi.Address{Host: docker}},
		"the first of those that are down": {uid: 7, dead: []string{podman, docker}, want: engineapi.Address{Host: podman}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := host(t, c.listens, c.dead)
			f := engineapi.Finder{Getenv: func(k string) string { return c.env[k] }, Root: root, UID: c.uid}
			got, err := f.Find(t.Context(), c.asked)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(c.want.Host, "://") {
				c.want.Host = "unix://" + filepath.Join(root, c.want.Host)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestFindSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"":                                    "systemctl --user enable --now podman.socket",
		"/run/docker.sock":                    "has no scheme",
		"ssh://me@machine":                    "ssh -nNT -L /run/skerry/engine.sock:/run/podman/podman.sock me@machine",
		"npipe:////./pipe/x":                  "unix and tcp are",
		"unix://docker.sock":                  "absolute path",
		"tcp://":                              "names no host",
		"unix:///" + strings.Repeat("x", 107): "a shorter state_dir",
	} {
		f := engineapi.Finder{Getenv: func(string) string { return "" }, Root: t.TempDir()}
		_, err := f.Find(t.Context(), engineapi.Address{Host: host})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", host, err, want)
		}
		if (host == "") != errors.Is(err, engineapi.ErrNone) {
			t.Errorf("%q: ErrNone is not told from others", host)
		}
	}
}

func TestFindFollowsTheDockerCommand(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	put := func(path, text string) {
		path = filepath.Join(home, ".docker", path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	digest := sha256.Sum256([]byte("there"))
	sum := hex.EncodeToString(digest[:])
	put("config.json", `{"currentContext":"there"}`)
	put("contexts/meta/"+sum+"/meta.json", `{"Name":"there","Endpoints":{"docker":{"Host":"tcp://there:2376","SkipTLSVerify":false}}}`)
	put("contexts/tls/"+sum+"/docker/ca.pem", "x")
	find := func(env map[string]string) (engineapi.Address, error) {
		env["HOME"] = home
		f := engineapi.Finder{Getenv: func(k string) string { return env[k] }, Root: t.TempDir()}
		return f.Find(t.Context(), engineapi.Address{})
	}
	want := engineapi.Address{Host: "tcp://there:2376", CertPath: filepath.Join(home, ".docker/contexts/tls", sum, "docker"), Verify: true}
	if got, err := find(map[string]string{}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	if got, err := find(map[string]string{"DOCKER_CONTEXT": "default"}); !errors.Is(err, engineapi.ErrNone) {
		t.Errorf("the default context: %+v, %v", got, err)
	}
	if _, err := find(map[string]string{"DOCKER_CONTEXT": "gone"}); err == nil || !strings.Contains(err.Error(), `"gone"`) {
		t.Errorf("a context that is not there: %v", err)
	}
}
