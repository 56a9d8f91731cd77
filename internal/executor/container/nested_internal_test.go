package container

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/job"
)

func TestWhoHasAnEngineOfItsOwn(t *testing.T) {
	t.Parallel()
	all, asking := &Nested{Image: "podman"}, &Nested{Image: "podman", Asking: true}
	for name, c := range map[string]struct {
		runner   *Nested
		variable string
		network  string
		services string
		want     string // names of the engine
		warning  string
		fails    string
	}{
		"not of this runner":      {},
		"asks in vain":            {variable: "podman", warning: "this runner gives jobs none"},
		"every job":               {runner: all, want: "nested docker"},
		"does without":            {runner: all, variable: "off"},
		"does not ask":            {runner: asking},
		"asks":                    {runner: asking, variable: "True", want: "nested docker"},
		"a service has the name":  {runner: all, services: "docker", want: "nested"},
		"another network":         {runner: all, network: "host", fails: "network_mode"},
		"another network, unused": {runner: asking, network: "host"},
		"no answer":               {runner: all, variable: "maybe", fails: `SKERRY_NESTED is "maybe"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, j := plainOptions(), testJob()
			o.Nested, o.NetworkMode = c.runner, c.network
			if c.variable != "" {
				j.Variables = append(j.Variables, job.Variable{Key: VariableNested, Value: c.variable})
			}
			if c.services != "" {
				j.Services = []job.Image{{Name: c.services}}
			}
			v, err := planned(t, o, j, engineapi.Docker)
			if err != nil || c.fails != "" {
				if c.fails == "" || err == nil || !strings.Contains(err.Error(), c.fails) {
					t.Errorf("error %v, want one with %q", err, c.fails)
				}
				return
			}
			got := ""
			if v.b.Nested != nil {
				got = strings.Join(v.b.Nested.Aliases, " ")
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(strings.Join(v.b.Warnings, "\n"), c.warning) {
				t.Errorf("warnings: %q", v.b.Warnings)
			}
		})
	}
}

// TestLimitsOfBoth has the job's containers and its engine's share the limits, and the latter have no rights of the former.
func TestLimitsOfBoth(t *testing.T) {
	t.Parallel()
	o := plainOptions()
	o.Nested = &Nested{Image: "podman"}
	o.Build = Limits{
		Memory: 4 << 30, MemorySwap: -1, Pids: 3001, NanoCPUs: 3e9, CPUShares: 512, CPUSet: "0-1", Privileged: true, CapAdd: []string{"SYS_ADMIN"},
		SecurityOpt: []string{"no-new-privileges"}, Devices: []string{"/dev/kvm"}, PIDMode: "host",
	}
	v, err := planned(t, o, testJob(), engineapi.Docker)
	if err != nil {
		t.Fatal(err)
	}
	image := &engineapi.Image{ID: "sha256:1"}
	own, err := v.nestedContainer(image)
	if err != nil {
		t.Fatal(err)
	}
	build, err := v.container("build", &v.b.Build, image)
	if err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]*container.HostConfig{"build": build.HostConfig, "nested": own.HostConfig} {
		if diff := cmp.Diff([5]int64{2 << 30, -1, 15e8, 512, 1501}, [5]int64{h.Memory, h.MemorySwap, h.NanoCPUs, h.CPUShares, *h.PidsLimit}); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	h := own.HostConfig
	if h.Privileged || len(h.CapAdd) > 0 || h.PidMode != "" || len(h.Devices) != 1 || own.Config.User != "1000:1000" {
		t.Errorf("the job's own engine has more than it needs: %+v as %s", h, own.Config.User)
	}
}

// TestControlGroupOfASlot has all containers of a job below one control group, whose limits they share, and its services below theirs.
func TestControlGroupOfASlot(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ slots, services, want, wantServices string }{
		"of slots":     {"ci/slot-${slot}", "services-$slot.slice", "ci/slot-7", "services-7.slice"},
		"of no slots":  {"", "", "jobs", "others"},
		"of all slots": {"ci", "ci", "ci", "ci"},
	} {
		o, j := plainOptions(), testJob()
		o.Nested, o.SlotCgroup, o.ServiceSlotCgroup = &Nested{Image: "podman"}, c.slots, c.services
		o.Build.CgroupParent, o.Service.CgroupParent, o.Build.Memory = "jobs", "others", 2<<30
		j.Slot, j.Services = 7, []job.Image{{Name: "redis"}}
		v, err := planned(t, o, j, engineapi.Docker)
		if err != nil {
			t.Fatal(err)
		}
		image := &engineapi.Image{ID: "sha256:1"}
		made := map[string]func() (client.ContainerCreateOptions, error){
			"build":   func() (client.ContainerCreateOptions, error) { return v.container("build", &v.b.Build, image) },
			"helper":  func() (client.ContainerCreateOptions, error) { return v.container("helper", &v.b.Helper, image) },
			"nested":  func() (client.ContainerCreateOptions, error) { return v.nestedContainer(image) },
			"service": func() (client.ContainerCreateOptions, error) { return v.serviceContainer(0, image) },
		}
		for part, of := range made {
			o, err := of()
			if err != nil {
				t.Fatal(err)
			}
			want := c.want
			if part == "service" {
				want = c.wantServices
			}
			if o.HostConfig.CgroupParent != want {
				t.Errorf("%s: %s is below %q, want %q", name, part, o.HostConfig.CgroupParent, want)
			}
		}
	}
}

// TestProcessesOfNestedContainers bounds them where the engine outside does not by itself, and leaves those of the job to it.
func TestProcessesOfNestedContainers(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pids        int64
		outside     engineapi.Kind
		job, nested int64
	}{
		{0, engineapi.Docker, 0, 2048}, {-1, engineapi.Docker, -1, -1}, {1000, engineapi.Docker, 500, 500},
		{0, engineapi.Podman, 0, 0}, {-1, engineapi.Podman, -1, -1}, {1000, engineapi.Podman, 500, 500},
	} {
		o := plainOptions()
		o.Nested, o.Build.Pids = &Nested{Image: "podman"}, c.pids
		v, err := planned(t, o, testJob(), c.outside)
		if err != nil {
			t.Fatal(err)
		}
		if job, nested := v.buildLimits().Pids, o.Build.nested(c.outside).Pids; job != c.job || nested != c.nested {
			t.Errorf("pids_limit = %d with %v: job and engine may have %d and %d, want %d and %d", c.pids, c.outside, job, nested, c.job, c.nested)
		}
	}
}

// TestEngineOfNoJobsPrograms has no job write what a later job's engine is started from: outside of the user namespace of
// nested containers, a program there has what is setuid root in a volume to become root with.
func TestEngineOfNoJobsPrograms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		volumes []string
		engine  bool
		fails   bool
	}{
		"a cache":           {[]string{"/cache"}, true, false},
		"programs":          {[]string{"/usr/local/bin"}, true, true},
		"of the job's will": {[]string{"/cache/$WHERE"}, true, true},
		"read only":         {[]string{"/srv/bin:/usr/local/bin:z,ro"}, true, false},
		"without an engine": {[]string{"/usr/local/bin", "/cache/$WHERE"}, false, false},
	} {
		o, j := plainOptions(), testJob()
		if o.Volumes = c.volumes; c.engine {
			o.Nested = &Nested{Image: "podman"}
		}
		j.Variables = append(j.Variables, job.Variable{Key: "WHERE", Value: "../home/podman"})
		_, err := planned(t, o, j, engineapi.Docker)
		var f *executor.Failure
		if (err != nil) != c.fails || c.fails && (!errors.As(err, &f) || f.Reason != job.ReasonConfiguration || !strings.Contains(err.Error(), "nested")) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDaemonWithoutNewPrivileges lets newuidmap have its file capability although Docker's daemon.json says no-new-privileges.
func TestDaemonWithoutNewPrivileges(t *testing.T) {
	t.Parallel()
	o := plainOptions()
	o.Nested = &Nested{Image: "podman"}
	v, err := planned(t, o, testJob(), engineapi.Docker)
	if err != nil {
		t.Fatal(err)
	}
	own, err := v.nestedContainer(&engineapi.Image{ID: "sha256:1"})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(own.HostConfig.SecurityOpt, "no-new-privileges=false") {
		t.Errorf("security options: %q", own.HostConfig.SecurityOpt)
	}
}

// TestLogOfAnEngineIsBounded: a job can make its engine talk, and what it says is on the engine's disk outside.
func TestLogOfAnEngineIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ options, want map[string]string }{
		"plain":        {nil, map[string]string{"max-size": "10m"}},
		"with options": {map[string]string{"env": "os"}, map[string]string{"max-size": "10m", "env": "os"}},
	} {
		o := plainOptions()
		o.Nested, o.LogOptions = &Nested{Image: "podman"}, c.options
		v, err := planned(t, o, testJob(), engineapi.Podman)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(v.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		own, err := v.nestedContainer(&engineapi.Image{ID: "sha256:1"})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(container.LogConfig{Type: "json-file", Config: c.want}, own.HostConfig.LogConfig); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(c.options) != len(o.LogOptions) {
			t.Errorf("%s: the options of all containers are %v now", name, o.LogOptions)
		}
	}
}

func TestWhatTheMachineLacks(t *testing.T) {
	t.Parallel()
	v := &environment{b: &blueprint{Nested: &nestedPart{part: part{Image: "mine"}}}}
	for said, want := range map[string]string{
		`error gathering device information while adding custom device "/dev/net/tun": no such file or directory`: "modprobe tun",
		"newuidmap: write to uid_map failed: Operation not permitted":                                             "skerry image build podman",
		"Error: cannot clone: Operation not permitted\nError: cannot re-exec process":                             "kernel.unprivileged_userns_clone",
		"user namespaces are not enabled in /proc/sys/user/max_user_namespaces":                                   "user.max_user_namespaces",
		`Error: configure storage: kernel does not support overlay fs: unable to create kernel-style whiteout`:    "kernel of 5.13",
		`find the engine: exec: "podman": executable file not found in $PATH`:                                     "has no Podman",
		"something else": "did not come up: it ended; its last words: something else",
	} {
		if err := v.nestedLacks(errors.New("it ended"), said); !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n%v\ndoes not say %q", said, err, want)
		}
	}
}
