package container

import (
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/seccomp"
	"gitlab.com/skerry/skerry/internal/executor/container/slot"
	"gitlab.com/skerry/skerry/internal/job"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// plainOptions are those of a runner whose configuration says nothing but the image.
func plainOptions() Options {
	zero := 0
	return Options{
		Agent: "/state/agents/abc/agent", Scope: "5c09e", BuildsDir: "/builds", CacheDir: "/cache", Image: "debian", HelperImage: "helper", Umask: &zero,
	}
}

func testJob() *job.Job {
	return &job.Job{
		ID: 7, ProjectID: 42, Image: &job.Image{Name: "debian:trixie"}, Git: job.Git{Ref: "main", SHA: "abc", BeforeSHA: "000"},
		Variables: job.Variables{{Key: "CI_PIPELINE_ID", Value: "3"}, {Key: "CI_PROJECT_DIR", Value: "/builds/group/project"}},
	}
}

// planned is an environment whose containers can be described without an engine.
func planned(t *testing.T, o Options, j *job.Job, kind engineapi.Kind) (*environment, error) {
	t.Helper()
	o.Dir = filepath.Join(t.TempDir(), "envs")
	e := New(o, &Host{}, slog.New(slog.DiscardHandler))
	ref := executor.Ref{Owner: "0123456789abcdef", ID: "00000000000000aa"}
	b, err := e.draw(t.Context(), ref, j)
	if err != nil {
		return nil, err
	}
	b.Agent = &carrier.Way{}
	return &environment{
		e: e, b: b, engine: &engineapi.Engine{Kind: kind, API: "1.41", Version: "1", Seccomp: engineapi.SeccompBuiltin}, dir: e.dir(ref),
		slot: slot.Slot{Name: "skerry-0123456789abcdef-slot", Network: "network-id"},
	}, nil
}

// TestRequests compares what the engine is told for many configurations with files that were read.
func TestRequests(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options func(*Options)
		job     func(*job.Job)
		image   engineapi.Image
		kind    engineapi.Kind
	}{
		"plain": {},
		"limits": {options: func(o *Options) {
			o.Build = Limits{
				Memory: 512 << 20, MemorySwap: -1, MemoryReservation: 256 << 20, NanoCPUs: 1_500_000_000, CPUShares: 512, CPUSet: "0-1", CPUSetMems: "0",
				OOMKillDisable: true, OOMScoreAdjust: 500, CgroupParent: "ci", ShmSize: 1 << 20, Ulimit: map[string]string{"nofile": "1024:2048", "core": "0"},
			}
		}},
		"rights": {options: func(o *Options) {
			o.Build = Limits{
				CapAdd: []string{"NET_ADMIN"}, CapDrop: []string{"ALL"}, SecurityOpt: []string{"label=disable", "no-new-privileges:true", "seccomp=unconfined"},
				Devices: []string{"/dev/kvm", "/dev/fuse:/dev/fuse:rw"}, DeviceRules: []string{"c 189:* rmw"}, GPUs: "all", Runtime: "crun",
				PIDMode: "host", IPCMode: "host", GroupAdd: []string{"video"}, UsernsMode: "host", Privileged: true,
			}
		}},
		"network": {options: func(o *Options) {
			o.Build = Limits{
				DNS: []string{"1.1.1.1"}, DNSSearch: []string{"example.org"}, ExtraHosts: []string{"db:10.0.0.1"}, Hostname: "ci",
				Sysctls: map[string]string{"net.core.somaxconn": "512", "kernel.msgmax": "65536"}, Tmpfs: map[string]string{"/run": "rw,noexec"},
			}
		}},
		"host-network": {options: func(o *Options) {
			o.NetworkMode = "host"
			o.Build = Limits{DNS: []string{"1.1.1.1"}, ExtraHosts: []string{"db:10.0.0.1"}, Hostname: "ci"}
		}},
		"named-network": {options: func(o *Options) {
			o.NetworkMode, o.MACAddress = "lan", "92:d0:c6:0a:29:33"
			o.Build = Limits{Links: []string{"db:database"}, Sysctls: map[string]string{"net.core.somaxconn": "512"}}
		}, kind: engineapi.Podman},
		"no-network":     {options: func(o *Options) { o.NetworkMode = "none" }},
		"joined-network": {options: func(o *Options) { o.NetworkMode = "container:vpn" }},
		"volumes": {options: func(o *Options) {
			o.Volumes = []string{"/cache", "/var/lib/data", "/srv/share:/share:ro,z", "named:$CI_PROJECT_DIR/deps", "tmp"}
			o.VolumesFrom = []string{"data:ro"}
		}, job: func(j *job.Job) { j.Git.Protected = true }},
		"builds-on-host": {options: func(o *Options) { o.Volumes = []string{"/srv/builds:/builds"} }},
		"no-cache":       {options: func(o *Options) { o.DisableCache, o.Volumes = true, []string{"/data", "named:/n"} }},
		"host-cache":     {options: func(o *Options) { o.HostCacheDir = "/srv/cache" }},
		"user": {options: func(o *Options) { o.User = "1000:1000" }, job: func(j *job.Job) {
			j.Variables = append(j.Variables, job.Variable{Key: flagInit, Value: "true"}, job.Variable{Key: flagUmask, Value: "true"})
		}},
		"entrypoint": {image: engineapi.Image{Entrypoint: []string{"/entry.sh"}}, options: func(o *Options) {
			o.LogOptions = map[string]string{"labels": "a"}
			o.Labels = map[string]string{"team": "x"}
		}},
		"entrypoint-c":        {image: engineapi.Image{Entrypoint: []string{"/bin/sh", "-c"}}},
		"entrypoint-shell":    {image: engineapi.Image{Entrypoint: []string{"/bin/bash"}}},
		"entrypoint-of-job":   {image: engineapi.Image{Entrypoint: []string{"/entry.sh"}}, job: func(j *job.Job) { j.Image.Entrypoint = []string{""} }},
		"keep-id":             {options: func(o *Options) { o.Build.UsernsMode = "keep-id" }, kind: engineapi.Podman},
		"userns-without-join": {options: func(o *Options) { o.Build.UsernsMode, o.NetworkMode = "keep-id", "host" }, kind: engineapi.Podman},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, j := plainOptions(), testJob()
			if test.options != nil {
				test.options(&o)
			}
			if test.job != nil {
				test.job(j)
			}
			if test.kind == "" {
				test.kind = engineapi.Docker
			}
			v, err := planned(t, o, j, test.kind)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]client.ContainerCreateOptions{}
			for place, p := range map[executor.Place]*part{executor.Helper: &v.b.Helper, executor.Build: &v.b.Build} {
				test.image.ID = "id-of-" + p.Image
				if got[string(place)], err = v.container(place, p, &test.image); err != nil {
					t.Fatal(err)
				}
			}
			mac, err := v.mac()
			if v.b.Network == "" {
				if err != nil {
					t.Fatal(err)
				}
				if got["holder"], err = slot.Holder(v.slot, v.e.o.kind(v.b, mac), nil); err != nil {
					t.Fatal(err)
				}
			}
			golden(t, name, v.e.o.Dir, got)
		})
	}
}

// golden compares v, as JSON without what is empty, with a file.
func golden(t *testing.T, name, dir string, v any) {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(raw, &tree); err != nil {
		t.Fatal(err)
	}
	if name != "plain" {
		common(tree)
	}
	raw, err = json.MarshalIndent(full(tree), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(raw), dir, "/state/envs") + "\n"
	text = ourSeccomp(t).Replace(text)
	path := filepath.Join("testdata", "requests", name+".json")
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it):\n%s", path, diff)
	}
}

// ourSeccomp puts the word for our own profile, which has a file of its own, in its place.
func ourSeccomp(t *testing.T) *strings.Replacer {
	t.Helper()
	profile, err := seccomp.Builds()
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(seccompOption + profile)
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer(string(quoted), `"`+seccompOption+imageBuilds+`"`)
}

// common takes out what all requests have and the file for a plain configuration shows.
func common(tree any) {
	containers, _ := tree.(map[string]any)
	for _, c := range containers {
		m, _ := c.(map[string]any)
		delete(m, "Name")
		config, _ := m["Config"].(map[string]any)
		delete(config, "Labels")
		host, _ := m["HostConfig"].(map[string]any)
		mounts, _ := host["Mounts"].([]any)
		host["Mounts"] = slices.DeleteFunc(mounts, func(m any) bool {
			one, _ := m.(map[string]any)
			target, _ := one["Target"].(string)
			return strings.HasPrefix(target, "/.skerry/")
		})
	}
}

// full is a JSON value without what is null, zero or empty, so that the files show what a configuration does.
func full(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			if e = full(e); e != nil && k != "ConsoleSize" {
				out[k] = e
			}
		}
		if len(out) > 0 {
			return out
		}
	case []any:
		var out []any
		for _, e := range v {
			out = append(out, full(e))
		}
		if len(out) > 0 {
			return out
		}
	case string:
		if v != "" {
			return v
		}
	case float64:
		if v != 0 {
			return v
		}
	case bool:
		if v {
			return v
		}
	}
	return nil
}

// TestRefused wants what cannot be to be said before a container is made.
func TestRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options func(*Options)
		want    string
	}{
		"twice":        {func(o *Options) { o.Volumes = []string{"/a:/data", "/data"} }, `"/a:/data" and "/data" both mean /data`},
		"twice by dir": {func(o *Options) { o.Volumes = []string{"/x/deps", "v:/x/deps/"} }, `both mean /x/deps`},
		"root":         {func(o *Options) { o.Volumes = []string{"/srv:/"} }, `where nothing can be mounted`},
		"ours":         {func(o *Options) { o.Volumes = []string{"/srv:/.skerry/state"} }, `the runner's own`},
		"mode":         {func(o *Options) { o.Volumes = []string{"/srv:/x:rx"} }, `"rx" is not a list of`},
		"tmpfs":        {func(o *Options) { o.Build.Tmpfs = map[string]string{"/builds": ""} }, `tmpfs "/builds" hides the builds directory`},
		"network":      {func(o *Options) { o.NetworkMode = "container:" }, `names no container`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := plainOptions()
			test.options(&o)
			_, err := planned(t, o, testJob(), engineapi.Docker)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

// TestLeaseOfRefusedJob wants a job that is refused to leave nothing leased.
func TestLeaseOfRefusedJob(t *testing.T) {
	t.Parallel()
	o := plainOptions()
	o.Volumes = []string{"/a:/data", "/data"}
	o.Dir = t.TempDir()
	e := New(o, &Host{}, slog.New(slog.DiscardHandler))
	if _, err := e.draw(t.Context(), executor.NewRef("0123456789abcdef"), testJob()); err == nil {
		t.Fatal("no error")
	}
	left, err := os.ReadDir(e.leases())
	if err != nil || len(left) > 0 {
		t.Errorf("leases: %v, %v", left, err)
	}
}
