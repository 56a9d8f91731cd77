package images

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/job"
)

func auths(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		parts = append(parts, fmt.Sprintf("%q: {\"auth\": %q}", pairs[i], base64.StdEncoding.EncodeToString([]byte(pairs[i+1]))))
	}
	return `{"auths": {` + strings.Join(parts, ", ") + `}}`
}

func TestLoginPrecedence(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	write := func(path, content string, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(home, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write(".docker/config.json", auths("file.example.com", "docker:file", "both.example.com", "docker:both"), 0o600)
	write(".config/containers/auth.json", auths("both.example.com", "podman:both", "podman.example.com/team", "podman:team"), 0o600)
	k := Keychain{Home: home, Getenv: func(key string) string {
		if key == "DOCKER_AUTH_CONFIG" {
			return auths("env.example.com", "env:env", "var.example.com", "env:var", "file.example.com/deep", "env:deep")
		}
		return ""
	}}
	a := Access{
		AuthConfig: auths("var.example.com", "var:var", "https://index.docker.io/v1/", "hub:hub", "gitlab.example.com/group", "var:group"),
		Payload: []job.Credential{
			{Type: "registry", URL: "gitlab.example.com", Username: "gitlab-ci-token", Password: "t"},
			{Type: "registry", URL: "gitlab.example.com:443", Username: "proxy", Password: "t"},
			{Type: "registry", URL: "file.example.com", Username: "payload", Password: "t"},
			{Type: "registry", URL: "registry.example.com:5050", Username: "port", Password: "t"},
		},
	}
	for image, want := range map[string]string{
		"ruby":                        "hub:hub " + sourceVariable,
		"index.docker.io/group/x":     "hub:hub " + sourceVariable,
		"var.example.com/x":           "var:var " + sourceVariable,
		"VAR.example.com/x/y":         "var:var " + sourceVariable,
		"env.example.com/x":           "env:env " + sourceEnvironment,
		"file.example.com/x":          "docker:file " + filepath.Join(home, ".docker/config.json"),
		"file.example.com/deep/x":     "env:deep " + sourceEnvironment,
		"file.example.com/deeper/x":   "docker:file " + filepath.Join(home, ".docker/config.json"),
		"both.example.com/x":          "docker:both " + filepath.Join(home, ".docker/config.json"),
		"podman.example.com/team/x":   "podman:team " + filepath.Join(home, ".config/containers/auth.json"),
		"podman.example.com/x":        ": ",
		"gitlab.example.com/group/x":  "var:group " + sourceVariable,
		"gitlab.example.com/groups/x": "gitlab-ci-token:t " + sourcePayload,
		"gitlab.example.com:443/g/dependency_proxy/containers/alpine": "gitlab-ci-token:t " + sourcePayload,
		"registry.example.com:5050/x":                                 "port:t " + sourcePayload,
		"registry.example.com/x":                                      ": ",
		"evilvar.example.com/x":                                       ": ",
		"localhost/x":                                                 ": ",
	} {
		r, err := Parse(image)
		if err != nil {
			t.Fatal(err)
		}
		l := k.login(t.Context(), a, r.Repository(), func(s string) { t.Error(s) })
		if got := l.Username + ":" + l.Password + " " + l.Source; got != want {
			t.Errorf("login for %s = %q, want %q", image, got, want)
		}
	}
}

func TestCredentialHelpers(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/sh\nread -r s\necho \"$s\" >> " + dir + "/asked\ncase $s in\nnone*) echo 'credentials not found in native keychain'; exit 1;;\nbroken*) echo oops >&2; exit 3;;\ntoken*) echo '{\"Username\":\"<token>\",\"Secret\":\"id\"}';;\n*) echo \"{\\\"ServerURL\\\":\\\"$s\\\",\\\"Username\\\":\\\"u\\\",\\\"Secret\\\":\\\"p\\\"}\";;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, tc := range []struct {
		config, image string
		want, warning string
		payload       bool
	}{
		{config: `{"credHelpers": {"h.example.com": "test"}}`, image: "h.example.com/x", want: "u:p:"},
		{config: `{"credHelpers": {"token.example.com": "test"}}`, image: "token.example.com/x", want: "::id"},
		{config: `{"credsStore": "test"}`, image: "s.example.com/a/b", want: "u:p:"},
		{config: `{"credsStore": "test", "auths": {"s.example.com": {}}}`, image: "ruby", want: "u:p:"},
		{config: `{"credsStore": "test"}`, image: "none.example.com/x", want: "::"},
		{config: `{"credHelpers": {"broken.example.com": "test"}}`, image: "broken.example.com/x", want: "job:token:", warning: "oops", payload: true},
		{config: `{"credHelpers": {"h.example.com": "../../bin/sh"}}`, image: "h.example.com/x", want: "::", warning: "path traversal"},
		{config: `{"credsStore": "a/b"}`, image: "h.example.com/x", want: "::", warning: "path traversal"},
		{config: `{"credHelpers": {"h.example.com": "not-there"}}`, image: "h.example.com/x", want: "::", warning: "docker-credential-not-there"},
		{config: `no json`, image: "h.example.com/x", want: "::", warning: "$DOCKER_AUTH_CONFIG"},
		{config: `{"auths": {"h.example.com": {"auth": "!"}, "i.example.com": {"username": "u", "password": "p"}}}`, image: "i.example.com/x", want: "u:p:", warning: "h.example.com"},
	} {
		a := Access{AuthConfig: tc.config}
		if tc.payload {
			a.Payload = []job.Credential{{Type: "registry", URL: "broken.example.com", Username: "job", Password: "token"}}
		}
		r, err := Parse(tc.image)
		if err != nil {
			t.Fatal(err)
		}
		var warned []string
		l := Keychain{}.login(t.Context(), a, r.Repository(), func(s string) { warned = append(warned, s) })
		if got := l.Username + ":" + l.Password + ":" + l.Token; got != tc.want {
			t.Errorf("%s for %s: %q, want %q", tc.config, tc.image, got, tc.want)
		}
		if text := strings.Join(warned, "\n"); (tc.warning == "") != (text == "") || !strings.Contains(text, tc.warning) {
			t.Errorf("%s for %s: warnings %q, want %q", tc.config, tc.image, text, tc.warning)
		}
	}
	asked, err := os.ReadFile(filepath.Join(dir, "asked"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("h.example.com\ntoken.example.com\ns.example.com\nhttps://index.docker.io/v1/\nnone.example.com\nbroken.example.com\n", string(asked)); diff != "" {
		t.Error(diff)
	}
}

func TestRegistryPath(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"https://index.docker.io/v1/": "docker.io", "docker.io": "docker.io", "index.docker.io": "docker.io",
		"HTTPS://Registry.Example.com/v2/": "registry.example.com", "registry.example.com:5000": "registry.example.com:5000",
		"Registry.example.com/Group/x": "registry.example.com/Group/x", "registry.example.com/group/": "registry.example.com/group",
		"registry.example.com:5000/group/x:tag": "registry.example.com:5000/group/x", "gitlab.example.com:443": "gitlab.example.com",
		"http://localhost:5000": "localhost:5000", "": "",
	} {
		if got := registryPath(in); got != want {
			t.Errorf("registryPath(%q) = %q, want %q", in, got, want)
		}
	}
}
