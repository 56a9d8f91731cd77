package container

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// TestSeccompWords gives Docker our profile itself and its own by the word that it knows, and Podman, whose own lets jobs do more, nothing.
func TestSeccompWords(t *testing.T) {
	t.Parallel()
	old, docker := &engineapi.Engine{Kind: engineapi.Docker, API: "1.41"}, &engineapi.Engine{Kind: engineapi.Docker, API: "1.42"}
	podman := &engineapi.Engine{Kind: engineapi.Podman, API: "1.41"}
	for _, c := range []struct {
		word   string
		engine *engineapi.Engine
		want   string
	}{
		{"seccomp=image-builds", old, `seccomp={"defaultAction":"SCMP_ACT_ERRNO"`}, {"seccomp=image-builds", docker, `seccomp={"defaultAction":"SCMP_ACT_ERRNO"`},
		{"seccomp=image-builds", podman, ""},
		{"seccomp=builtin", old, ""}, {"seccomp=builtin", docker, "seccomp=builtin"}, {"seccomp=builtin", podman, ""},
		{"seccomp=unconfined", old, "seccomp=unconfined"}, {`seccomp={"a":1}`, docker, `seccomp={"a":1}`}, {"seccomp=/srv/profile.json", podman, "seccomp=/srv/profile.json"},
	} {
		got, err := securityOptions([]string{"label=disable", c.word}, c.engine, &buildsProfile{})
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 || got[0] != "label=disable" || len(got) > 1 != (c.want != "") || !strings.HasPrefix(strings.Join(got[1:], ""), c.want) {
			t.Errorf("%s with %s %s: %q", c.word, c.engine.Kind, c.engine.API, got)
		}
	}
}

// TestForBuilds has jobs of nobody's choice alone have the profile for builds of images, and nothing but jobs.
func TestForBuilds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits Limits
		engine func(*engineapi.Engine)
		want   bool
	}{
		"nothing is said":         {want: true},
		"other options":           {limits: Limits{SecurityOpt: []string{"label=disable"}, CapAdd: []string{"NET_ADMIN"}}, want: true},
		"rootless":                {engine: func(e *engineapi.Engine) { e.Rootless = true }, want: true},
		"a profile of theirs":     {limits: Limits{SecurityOpt: []string{"seccomp=/srv/profile.json"}}},
		"the engine's":            {limits: Limits{SecurityOpt: []string{"seccomp=builtin"}}},
		"none":                    {limits: Limits{SecurityOpt: []string{"seccomp:unconfined"}}},
		"privileged":              {limits: Limits{Privileged: true}},
		"rights taken away":       {limits: Limits{CapDrop: []string{"NET_RAW"}}},
		"the daemon's own":        {engine: func(e *engineapi.Engine) { e.Seccomp = "/etc/docker/seccomp.json" }},
		"the daemon has none":     {engine: func(e *engineapi.Engine) { e.Seccomp = "unconfined" }},
		"the kernel has none":     {engine: func(e *engineapi.Engine) { e.Seccomp = "" }},
		"Podman":                  {engine: func(e *engineapi.Engine) { e.Kind = engineapi.Podman }},
		"AppArmor forbids mounts": {engine: func(e *engineapi.Engine) { e.AppArmor = true }},
		"AppArmor does not":       {limits: Limits{SecurityOpt: []string{"apparmor=unconfined"}}, engine: func(e *engineapi.Engine) { e.AppArmor = true }, want: true},
	} {
		engine := &engineapi.Engine{Kind: engineapi.Docker, API: "1.41", Seccomp: engineapi.SeccompBuiltin}
		if c.engine != nil {
			c.engine(engine)
		}
		before := append([]string(nil), c.limits.SecurityOpt...)
		want := before
		if c.want {
			want = append(before[:len(before):len(before)], "seccomp=image-builds")
		}
		if diff := cmp.Diff(want, c.limits.forBuilds(engine).SecurityOpt); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(before, append([]string(nil), c.limits.SecurityOpt...)); diff != "" {
			t.Errorf("%s: the runner's own options: %s", name, diff)
		}
	}
}

// TestForJobsAlone leaves helper, services and the job's own engine what they had.
func TestForJobsAlone(t *testing.T) {
	t.Parallel()
	o, j := plainOptions(), testJob()
	o.Nested = &Nested{Image: "podman"}
	v, err := planned(t, o, j, engineapi.Docker)
	if err != nil {
		t.Fatal(err)
	}
	v.b.Services = []servicePart{{part: part{Name: "service", Image: "postgres"}}}
	image, ours := &engineapi.Image{ID: "sha256:1"}, ourSeccomp(t)
	for name, c := range map[string]struct {
		make func() (client.ContainerCreateOptions, error)
		want bool
	}{
		"build":   {func() (client.ContainerCreateOptions, error) { return v.container("build", &v.b.Build, image) }, true},
		"helper":  {func() (client.ContainerCreateOptions, error) { return v.container("helper", &v.b.Helper, image) }, false},
		"service": {func() (client.ContainerCreateOptions, error) { return v.serviceContainer(0, image) }, false},
		"nested":  {func() (client.ContainerCreateOptions, error) { return v.nestedContainer(image) }, false},
	} {
		got, err := c.make()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(got.HostConfig.SecurityOpt)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(ours.Replace(string(raw)), "seccomp=image-builds") != c.want {
			t.Errorf("%s: %s", name, raw)
		}
	}
}
