package dockeropt_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/dockeropt"
)

// parsers are all that read one text, each showing what it read.
func parsers() map[string]func(string) (string, error) {
	show := func(v any, err error) (string, error) {
		if err != nil {
			return "", err
		}
		return strings.Trim(fmt.Sprintf("%v", v), "[]{}"), nil
	}
	return map[string]func(string) (string, error){
		"cpus":         func(s string) (string, error) { return show(dockeropt.CPUs(s)) },
		"device":       func(s string) (string, error) { return show(dockeropt.Device(s)) },
		"rule":         func(s string) (string, error) { return show("ok", dockeropt.DeviceRule(s)) },
		"gpus":         func(s string) (string, error) { return show(dockeropt.GPUs(s)) },
		"nofile":       func(s string) (string, error) { return show(dockeropt.Ulimits(map[string]string{"nofile": s})) },
		"isolation":    func(s string) (string, error) { return show("ok", dockeropt.Isolation(s)) },
		"network":      func(s string) (string, error) { return show(dockeropt.NetworkMode(s)) },
		"host":         func(s string) (string, error) { return show(dockeropt.Host(s)) },
		"dns":          func(s string) (string, error) { return show(dockeropt.DNS(s)) },
		"mac":          func(s string) (string, error) { return show(dockeropt.MAC(s)) },
		"pattern":      func(s string) (string, error) { return show("ok", dockeropt.Pattern(s)) },
		"tmpfs":        func(s string) (string, error) { return show("ok", dockeropt.Tmpfs(s)) },
		"volumes_from": func(s string) (string, error) { return show("ok", dockeropt.VolumesFrom(s)) },
		"link": func(s string) (string, error) {
			c, alias, err := dockeropt.Link(s)
			return show(c+" as "+alias, err)
		},
		"volume": func(s string) (string, error) {
			v, err := dockeropt.ParseVolume(s)
			return show(fmt.Sprintf("%q at %q %q", v.Source, v.Path, v.Mode), err)
		},
	}
}

func TestParsers(t *testing.T) {
	t.Parallel()
	const bad = "" // refused
	for parser, cases := range map[string]map[string]string{
		"cpus": {
			"1.5": "1500000000", "0": "0", "": "0", "1/2": "500000000", "-1": bad, "x": bad, "0.0000000001": bad, "Inf": bad, "NaN": bad,
			"99999999999999999999": bad, " 1": bad, "1,5": bad, "1e999999999": bad, "1/0": bad, ".": bad,
		},
		"device": {
			"/dev/kvm": "/dev/kvm /dev/kvm rwm", "/dev/kvm:/dev/x": "/dev/kvm /dev/x rwm", "/dev/kvm:/dev/x:r": "/dev/kvm /dev/x r", "/dev/kvm::rw": "/dev/kvm /dev/kvm rw",
			"nvidia.com/gpu=all": "nvidia.com/gpu=all nvidia.com/gpu=all rwm",
			"":                   bad, ":/dev/x": bad, "/dev/kvm:/dev/x:": bad, "/dev/kvm:/dev/x:rwx": bad, "/dev/kvm:/dev/x:rw:": bad,
		},
		"rule": {
			"c 189:* rmw": "ok", "b 8:0 r": "ok", "a *:* rwm": "ok", "": bad, "c 189 r": bad, "d 1:1 r": bad, "c 1:1": bad, "c 1:1 x": bad, "c 1:1 r\n": bad, "c -1:1 r": bad,
		},
		"gpus": {
			"": "", "all": " -1 [] [[gpu]] map", "2": " 2 [] [[gpu]] map", "-1": " -1 [] [[gpu]] map", "device=0": " 0 [0] [[gpu]] map",
			`"device=0,1"`: " 0 [0 1] [[gpu]] map", "device=GPU-1,capabilities=compute": " 0 [GPU-1] [[compute gpu]] map",
			"0": bad, "device=": bad, "some": bad, "x=y": bad, "all,all": bad, `"`: bad, "a\nb": bad,
		},
		"nofile": {
			"1024": "nofile=1024:1024", "1:2": "nofile=1:2", "-1": "nofile=-1:-1", "2:1": bad, "": bad, "1:": bad, ":1": bad, "x": bad, "unlimited": bad, "1:2:3": bad, "-1:5": bad,
		},
		"isolation": {"": "ok", "default": "ok", "hyperv": bad, "Default": bad},
		"network": { // Mode Joined Host Named
			"": " false false false", "bridge": " false false false", "default": " false false false", "host": "host false true false", "none": "none false false false",
			"container:db": "container:db true false false", "net_1.x-y": "net_1.x-y false false true",
			"container:": bad, "container:a b": bad, "container:/x": bad, "ns:/proc/1/ns/net": bad, "a b": bad, "a/b": bad, "-x": bad, ".": bad, "$X": bad, "a\n": bad,
		},
		"host": {
			"db:192.0.2.1": "db:192.0.2.1", "db:2001:db8::1": "db:2001:db8::1", "db:[2001:db8::1]": "db:2001:db8::1", "db=192.0.2.1": "db:192.0.2.1", "db:host-gateway": "db:host-gateway",
			"": bad, "db": bad, "db:": bad, "db:other": bad, ":192.0.2.1": bad, "a b:192.0.2.1": bad, "db:192.0.2.1 x": bad, "a\nb:192.0.2.1": bad,
		},
		"dns": {"192.0.2.53": "192.0.2.53", "2001:db8::53": "2001:db8::53", "": bad, "name": bad, "192.0.2.53:53": bad, " 192.0.2.53": bad, "192.0.2.053": bad},
		"mac": {
			"": "", "92:d0:c6:0a:29:33": "92:d0:c6:0a:29:33", "92-D0-C6-0A-29-33": "92:d0:c6:0a:29:33",
			"x": bad, "92:d0:c6:0a:29": bad, "92:d0:c6:0a:29:33:00:00": bad, "01:00:5e:00:00:01": bad,
		},
		"pattern":      {"ruby:*": "ok", "!{a,b}/**": "ok", "*": "ok", "": bad, "!": bad, "[a": bad, "!{a": bad},
		"tmpfs":        {"/tmp": "ok", "/var/run": "ok", "": bad, "/": bad, "tmp": bad, "/tmp/..": bad, "/.skerry": bad, "/x/../.skerry/state": bad, "/a:/b": bad},
		"volumes_from": {"c": "ok", "c:ro": "ok", "c:z": "ok", "": bad, ":ro": bad, "c:": bad, "c:x": bad, "a b": bad, "c:ro:x": bad},
		"link":         {"db": "db as db", "db:data": "db as data", "/db:/x/data": "db as data", "": bad, "db:": bad, ":data": bad, "a:b:c": bad, "a b": bad, "db:a b": bad},
		"volume": {
			"/data": `"" at "/data" ""`, "deps": `"" at "deps" ""`, "$X/y": `"" at "$X/y" ""`,
			"/host:/data": `"/host" at "/data" ""`, "name:/data:ro": `"name" at "/data" "ro"`, "/h:/d:rw,z,rshared": `"/h" at "/d" "rw,z,rshared"`,
			"": bad, ":": bad, ":/data": bad, "/host:": bad, "/host::ro": bad, "./host:/data": bad, "~/x:/data": bad, "../x:/data": bad, "a/b:/data": bad,
			"/h:/d:": bad, "/h:/d:rx": bad, "/h:/d:ro:z": bad, "/h:/d:ro,": bad,
		},
	} {
		t.Run(parser, func(t *testing.T) {
			t.Parallel()
			parse := parsers()[parser]
			for text, want := range cases {
				got, err := parse(text)
				if want == bad && text != "" && err == nil || want != bad && err != nil || got != want {
					t.Errorf("%q is read as %q, %v; want %q", text, got, err, want)
				}
				if err != nil && (text != "" && !strings.Contains(err.Error(), strings.Trim(fmt.Sprintf("%q", text), `"`)) || len(err.Error()) < 20) {
					t.Errorf("%q: the message does not name the value: %v", text, err)
				}
			}
		})
	}
}

func TestUlimits(t *testing.T) {
	t.Parallel()
	got, err := dockeropt.Ulimits(map[string]string{"nproc": "5", "core": "0:-1"})
	if want := "[core=0:-1 nproc=5:5]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("read as %v, %v; want %s", got, err, want)
	}
	for _, name := range []string{"", "files", "nofile=1", "NOFILE"} {
		if got, err := dockeropt.Ulimits(map[string]string{name: "1"}); err == nil {
			t.Errorf("%q is read as %v", name, got)
		}
	}
}

func TestLogOptions(t *testing.T) {
	t.Parallel()
	for key, ok := range map[string]bool{"env": true, "labels": true, "max-size": false, "Env": false, "": false} {
		if err := dockeropt.LogOptions(map[string]string{key: "x"}); (err == nil) != ok {
			t.Errorf("%q: %v", key, err)
		}
	}
}

func TestDevicesFor(t *testing.T) {
	t.Parallel()
	patterns := map[string][]string{"nvidia/*:*": {"/dev/a"}, "**": {"/dev/b"}, "registry.example.com/**": {"/dev/c"}}
	for image, want := range map[string]string{
		"nvidia/cuda:12": "/dev/b /dev/a", "nvidia/cuda": "/dev/b", "x.io/nvidia/cuda:12": "/dev/b", "registry.example.com/a/b": "/dev/b /dev/c",
	} {
		got, err := dockeropt.DevicesFor(image, patterns)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s gets %v, %v; want %s", image, got, err, want)
		}
	}
	if _, err := dockeropt.DevicesFor("x", map[string][]string{"[a": nil}); err == nil {
		t.Error("a broken pattern is taken")
	}
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		list  []string
		value string
		found bool
	}{
		{nil, "", false},
		{[]string{"label=disable", "no-new-privileges"}, "", false},
		{[]string{"seccomp=unconfined"}, "unconfined", true},
		{[]string{"seccomp:unconfined"}, "unconfined", true},
		{[]string{"seccomp=/a", "apparmor=b", "seccomp=/c=d"}, "/c=d", true},
		{[]string{"seccomps=x", "seccomp"}, "", false},
	} {
		if value, found := dockeropt.Security(c.list, "seccomp"); value != c.value || found != c.found {
			t.Errorf("%q: %q, %t", c.list, value, found)
		}
	}
}

func TestPlace(t *testing.T) {
	t.Parallel()
	const project = "/builds/group/project"
	variables := map[string]string{"UP": "../../..", "ROOT": "/", "OURS": "/.skerry", "MODE": "/x:/y", "DIR": "/data"}
	expand := strings.NewReplacer("$UP", variables["UP"], "$ROOT", variables["ROOT"], "$OURS", variables["OURS"], "$MODE", variables["MODE"], "$DIR", variables["DIR"], "$UNSET", "")
	got := map[string]string{}
	want := map[string]string{
		"/data": "/data", "/data/": "/data", "/data/../x": "/x", "deps": project + "/deps", "../x": "/builds/group/x", "$DIR/a": "/data/a", "/$UNSET/x": "/x", "$UNSET": project,
		"/": "", "$ROOT": "", "$UP": "", "../../../..": "", "/.skerry": "", "/x/../.skerry/state": "", "$OURS/bin": "", "$MODE": "", "/.skerry-not": "/.skerry-not",
	}
	for p := range want {
		place, err := dockeropt.Volume{Path: p}.Place(expand.Replace, project)
		if (err == nil) != (place != "") {
			t.Errorf("%q: %q, %v", p, place, err)
		}
		got[p] = place
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// FuzzParsers feeds any text to every parser: it is read, or refused with words, and what was read as a name or a
// place for an engine holds nothing that could end it.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{"", "/a:/b:ro", "db:192.0.2.1", "all", `"device=0,1"`, "1:2", "c 1:* rwm", "92:d0:c6:0a:29:33", "container:x", "1.5", "$A/b", "a\x00b", "1e999999999"} {
		f.Add(s)
	}
	all := parsers()
	f.Fuzz(func(t *testing.T, text string) {
		for name, parse := range all {
			got, err := parse(text)
			if err != nil && err.Error() == "" {
				t.Errorf("%s: an error without words", name)
			}
			switch name {
			case "network", "host", "link", "volumes_from":
				if err == nil && strings.ContainsAny(text, "\n\r\x00") {
					t.Errorf("%s takes %q as %q", name, text, got)
				}
			}
		}
		v, err := dockeropt.ParseVolume(text)
		if err != nil {
			return
		}
		if p, err := v.Place(nil, "/builds/p"); err == nil && (!strings.HasPrefix(p, "/") || p == "/" || strings.Contains(p, ":") || dockeropt.Within(p, "/.skerry")) {
			t.Errorf("the volume %q is put at %q", text, p)
		}
	})
}
