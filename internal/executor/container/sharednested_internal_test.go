package container

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

func TestWhoSharesAnEngine(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		asking   bool
		variable string
		want     string // shared, own or none
	}{
		"every job":              {want: "shared"},
		"asks for what there is": {variable: "true", want: "shared"},
		"asks for its own":       {variable: "podman", want: "own"},
		"does without":           {variable: "off", want: "none"},
		"does not ask":           {asking: true, want: "none"},
		"asks":                   {asking: true, variable: "shared", want: "shared"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, j := plainOptions(), testJob()
			o.Nested = &Nested{Image: "podman", Asking: c.asking, Shared: true}
			if c.variable != "" {
				j.Variables = append(j.Variables, job.Variable{Key: VariableNested, Value: c.variable})
			}
			v, err := planned(t, o, j, engineapi.Docker)
			if err != nil {
				t.Fatal(err)
			}
			got := "none"
			switch {
			case v.b.Nested != nil:
				got = "own"
			case v.b.Shared != nil:
				got = "shared"
			}
			if got != c.want {
				t.Errorf("its engine is %s, want %s", got, c.want)
			}
			if warned := strings.Contains(strings.Join(v.b.Warnings, "\n"), "each can see, stop and mount into"); warned != (got == "shared") {
				t.Errorf("warnings: %q", v.b.Warnings)
			}
		})
	}
}

// TestWhatASharedEngineHas gives it what is the same for all jobs, and nothing by which one job becomes another's engine.
func TestWhatASharedEngineHas(t *testing.T) {
	t.Parallel()
	o := plainOptions()
	o.Nested = &Nested{Image: "podman", Shared: true}
	o.Volumes = []string{"/cache", "builds:" + o.BuildsDir, "/srv/$CI_PROJECT_ID:/srv", "tools:/tools:ro", "deps:deps"}
	o.Build = Limits{Memory: 4 << 30, NanoCPUs: 3e9, Pids: 1000, Privileged: true, CapAdd: []string{"SYS_ADMIN"}}
	v, err := planned(t, o, testJob(), engineapi.Docker)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(strings.Join(v.b.Warnings, "\n"), "project directory") {
		t.Errorf("warnings: %q", v.b.Warnings)
	}
	view := v.e.sharedView(v.engine, v.b.Ref.Owner, v.b.Shared.Name)
	view.b.Agent = v.b.Agent
	if view.b.Binds, err = v.e.sharedBinds(); err != nil {
		t.Fatal(err)
	}
	got, err := view.sharedContainer(&engineapi.Image{ID: "sha256:1"})
	if err != nil {
		t.Fatal(err)
	}
	h := got.HostConfig
	if diff := cmp.Diff([]string{"builds:" + o.BuildsDir, "tools:/tools:ro"}, h.Binds); diff != "" {
		t.Errorf("binds: %s", diff)
	}
	if h.Memory != 4<<30 || h.NanoCPUs != 3e9 || *h.PidsLimit != 1000 || h.Privileged || len(h.CapAdd) > 0 || !slices.Contains(h.CapDrop, "CHOWN") {
		t.Errorf("it is confined so: %+v", h)
	}
	if l := got.Config.Labels; l[labelOwner] == "" || l[labelRef] != "" || l[labelPart] != partShared || l[labelShared] == "" {
		t.Errorf("labels: %v", l)
	}
	build, err := v.container(executor.Build, &v.b.Build, &engineapi.Image{ID: "sha256:2"})
	if err != nil {
		t.Fatal(err)
	}
	if build.HostConfig.Memory != 4<<30 {
		t.Errorf("the job has %d bytes of memory", build.HostConfig.Memory)
	}
	o.Volumes = []string{"tools:/usr/local/bin"}
	if _, err := planned(t, o, testJob(), engineapi.Docker); err == nil || !strings.Contains(err.Error(), "the engine that they share") {
		t.Errorf("programs of an engine in a volume of jobs: %v", err)
	}
}

// TestSharedEngineElsewhere is refused, and nothing is left of it; one of a job's own is not.
func TestSharedEngineElsewhere(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	v := draws(t, e)
	v.b.Agent = &carrier.Way{Volume: "agent"}
	v.reached = &step{done: make(chan struct{})}
	close(v.reached.done)
	for what, err := range map[string]error{"used": v.useShared(t.Context()), "opened": v.openNested(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), "needs an engine that shares directories with the runner") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if len(f.volumes)+len(f.containers) > 0 {
		t.Errorf("there are %v, %v", f.volumes, f.containers)
	}
}

// TestProcessesOfASharedEngine are bounded where the engine outside would give any number.
func TestProcessesOfASharedEngine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		outside     engineapi.Kind
		limit, want int64 // 0: the engine's own
	}{{engineapi.Docker, 0, nestedPids}, {engineapi.Podman, 0, 0}, {engineapi.Docker, 600, 600}, {engineapi.Podman, 600, 600}, {engineapi.Docker, -1, -1}} {
		o := plainOptions()
		o.Nested, o.Build.Pids = &Nested{Image: "podman", Shared: true}, c.limit
		v, err := planned(t, o, testJob(), c.outside)
		if err != nil {
			t.Fatal(err)
		}
		view := v.e.sharedView(v.engine, v.b.Ref.Owner, v.b.Shared.Name)
		view.b.Agent = v.b.Agent
		if err := view.openNested(t.Context()); err != nil {
			t.Fatal(err)
		}
		made, err := view.sharedContainer(thePodman)
		if err != nil {
			t.Fatal(err)
		}
		got := int64(0)
		if made.HostConfig.PidsLimit != nil {
			got = *made.HostConfig.PidsLimit
		}
		if got != c.want {
			t.Errorf("with %s and pids_limit %d it may have %d, want %d", c.outside, c.limit, got, c.want)
		}
	}
}

// TestNetworksOfASharedEngine are no other jobs': it stays connected to them, and with it the containers of all its jobs.
func TestNetworksOfASharedEngine(t *testing.T) {
	t.Parallel()
	kinds := map[string][]string{}
	for who, variable := range map[string]string{"shares": "", "shares, too": "shared", "has its own": "podman", "has none": "off"} {
		o, j := plainOptions(), testJob()
		o.Nested, o.Build.Links = &Nested{Image: "podman", Shared: true}, []string{"db"}
		j.Variables = append(j.Variables, job.Variable{Key: VariableNested, Value: variable})
		v, err := planned(t, o, j, engineapi.Docker)
		if err != nil {
			t.Fatal(err)
		}
		key := fmt.Sprintf("%+v", o.kind(v.b, nil))
		kinds[key] = append(kinds[key], who)
		slices.Sort(kinds[key])
	}
	got := slices.SortedFunc(maps.Values(kinds), slices.Compare)
	if diff := cmp.Diff([][]string{{"has its own", "has none"}, {"shares", "shares, too"}}, got); diff != "" {
		t.Errorf("those who have each other's networks: %s", diff)
	}
}

// TestSharedEngineIsAnotherWithAnotherProfile though Podman is told the path of the profile, which stays.
func TestSharedEngineIsAnotherWithAnotherProfile(t *testing.T) {
	t.Parallel()
	specs := map[string]bool{}
	o := plainOptions()
	o.Nested = &Nested{Image: "podman", Shared: true}
	v, err := planned(t, o, testJob(), engineapi.Podman)
	if err != nil {
		t.Fatal(err)
	}
	for _, arch := range []string{"amd64", "arm64", "amd64"} {
		view := v.e.sharedView(&engineapi.Engine{Kind: engineapi.Podman, API: "1.41", Version: "1", Arch: arch}, v.b.Ref.Owner, v.b.Shared.Name)
		view.b.Agent = v.b.Agent
		if err := view.openNested(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := view.sharedContainer(&engineapi.Image{ID: "sha256:1"})
		if err != nil {
			t.Fatal(err)
		}
		specs[got.Config.Labels[labelShared]] = true
	}
	if len(specs) != 2 {
		t.Errorf("two profiles and %d descriptions: %v", len(specs), specs)
	}
}

// TestWhoseEngineDoesNotComeUp is what the job's log says.
func TestWhoseEngineDoesNotComeUp(t *testing.T) {
	t.Parallel()
	f, e := sharing(t)
	f.ends = func(c *fakeContainer) bool { c.exit = 125; return true }
	v := draws(t, e)
	if err := v.shared().ensure(t.Context(), v, thePodman); err == nil || !strings.Contains(err.Error(), "the container engine that jobs share did not come up") {
		t.Error(err)
	}
}
