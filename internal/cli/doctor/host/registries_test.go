package host_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/cli/doctor/host"
)

func TestInsecureRegistries(t *testing.T) {
	t.Parallel()
	const own, all, part, ownPart = "home/ci/.config/containers/registries.conf", "etc/containers/registries.conf", "etc/containers/registries.conf.d/x.conf", "home/ci/.config/containers/registries.conf.d/x.conf"
	const insecure = "[[registry]]\nlocation = \"r.invalid:5000\"\ninsecure = true\n"
	for name, c := range map[string]struct {
		files files
		home  string
		want  bool
	}{
		"none":                  {nil, "/home/ci", false},
		"the machine's":         {files{all: insecure}, "", true},
		"the user's":            {files{own: insecure}, "/home/ci", true},
		"not root's":            {files{own: insecure, ownPart: insecure}, "", false},
		"the user's own counts": {files{own: "", all: insecure}, "/home/ci", false},
		"a part":                {files{own: "", part: insecure}, "/home/ci", true},
		"a part of the user's":  {files{ownPart: insecure}, "/home/ci", true},
		"another":               {files{all: "[[registry]]\nlocation = \"r.invalid\"\ninsecure = true\n"}, "", false},
		"secure":                {files{all: "[[registry]]\nlocation = \"r.invalid:5000\"\n"}, "", false},
		"a group of it":         {files{all: "[[registry]]\nprefix = \"r.invalid:5000/group\"\nlocation = \"x.invalid\"\ninsecure = true\n"}, "", true},
		"a domain":              {files{all: "[[registry]]\nprefix = \"*.invalid:5000\"\ninsecure = true\n"}, "", true},
		"another domain":        {files{all: "[[registry]]\nprefix = \"*.example.com\"\ninsecure = true\n"}, "", false},
		"version 1":             {files{all: "[registries.insecure]\nregistries = [\"r.invalid:5000\"]\n"}, "", true},
		"broken":                {files{all: "[[registry", part: insecure}, "", true},
	} {
		r := host.Registries{Machine: machine(t, c.files), Home: c.home}
		if got := r.Insecure("r.invalid:5000"); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
	if got := (host.Registries{Home: "/home/ci"}).DropIn("[::1]:5000"); got != "/home/ci/.config/containers/registries.conf.d/insecure-::1-5000.conf" && got != "/home/ci/.config/containers/registries.conf.d/insecure---1-5000.conf" {
		t.Error(got)
	}
}
