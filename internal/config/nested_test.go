package config_test

import (
	"strings"
	"testing"
)

func TestNested(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ keys, refused, warns string }{
		"an engine each":                {keys: "nested = \"podman\"\nuser = \"build\"\nvolumes = [\"/cache\", \"data:/data\"]\n"},
		"the same, unknown":             {keys: "nested = \"docker\"\n", refused: "nested"},
		"one for all":                   {keys: "nested = \"shared\"\nnetwork_mode = \"host\"\n", warns: "nested: gives all jobs of this runner one container engine"},
		"its programs":                  {keys: "nested = \"shared\"\nvolumes = [\"tools:/usr/bin\"]\n", refused: "volumes[0]", warns: "nested: gives all jobs"},
		"images of the project":         {keys: "nested = \"podman\"\nnested_images = \"project\"\n"},
		"images of jobs":                {keys: "nested = \"podman\"\nnested_images = \"job\"\n", refused: "nested_images"},
		"images without an engine":      {keys: "nested_images = \"project\"\n", warns: "nested_images: has no effect"},
		"for nobody known":              {keys: "nested = \"podman\"\nnested_for = \"some\"\n", refused: "nested_for"},
		"any number of processes":       {keys: "nested = \"podman\"\npids_limit = -1\n"},
		"too few processes":             {keys: "pids_limit = 63\n", refused: "pids_limit: must be at least 64,"},
		"few processes":                 {keys: "pids_limit = 64\n"},
		"too few for an engine":         {keys: "nested = \"podman\"\npids_limit = 255\n", refused: "pids_limit: must be at least 256 with nested = \"podman\""},
		"too few for a shared one":      {keys: "nested = \"shared\"\npids_limit = 255\n", refused: "pids_limit: must be at least 256 with nested = \"shared\"", warns: "nested: gives all jobs"},
		"just enough for an engine":     {keys: "nested = \"podman\"\npids_limit = 256\n"},
		"less than none":                {keys: "pids_limit = -2\n", refused: "pids_limit"},
		"any amount of disk":            {keys: "nested = \"podman\"\nnested_disk = \"-1\"\n"},
		"a size of disk":                {keys: "nested = \"podman\"\nnested_disk = \"20GB\"\n"},
		"a share of the disk":           {keys: "nested = \"podman\"\nnested_disk = \"12.5%\"\n"},
		"no disk":                       {keys: "nested = \"podman\"\nnested_disk = \"0\"\n", refused: "nested_disk: must be a size"},
		"more than the disk":            {keys: "nested = \"podman\"\nnested_disk = \"101%\"\n", refused: "nested_disk: must be a share"},
		"hardly any disk":               {keys: "nested = \"podman\"\nnested_disk = \"1MB\"\n", refused: "nested_disk: must be \"16MB\" at least"},
		"disk of no engine":             {keys: "nested_disk = \"20GB\"\n", warns: "nested_disk: has no effect"},
		"without a network":             {keys: "nested = \"podman\"\nnetwork_mode = \"host\"\n", refused: "network_mode"},
		"programs of every job":         {keys: "nested = \"podman\"\nvolumes = [\"/cache\", \"/usr/local\"]\n", refused: "volumes[1]"},
		"programs of named volumes":     {keys: "nested = \"podman\"\nvolumes = [\"tools:/usr/local/bin/\"]\n", refused: "volumes[0]"},
		"libraries":                     {keys: "nested = \"podman\"\nvolumes = [\"/srv/lib:/usr/lib/x86_64-linux-gnu:rw\"]\n", refused: "volumes[0]"},
		"the engine's state by a link":  {keys: "nested = \"podman\"\nvolumes = [\"/var/run\"]\n", refused: "volumes[0]"},
		"settings of Podman":            {keys: "nested = \"podman\"\nvolumes = [\"/etc\"]\n", refused: "volumes[0]"},
		"the engine's home":             {keys: "nested = \"podman\"\nvolumes = [\"/home\"]\n", refused: "volumes[0]"},
		"programs nobody can write":     {keys: "nested = \"podman\"\nvolumes = [\"/srv/bin:/usr/local/bin:ro\"]\n"},
		"caches beside programs":        {keys: "nested = \"podman\"\nvolumes = [\"/usr/local/cargo/registry\", \"/usr/local/lib/node_modules\", \"/etc/ssl/private\", \"/home/build\"]\n"},
		"programs without an engine":    {keys: "volumes = [\"/usr/local\"]\n"},
		"directories for all":           {keys: "nested = \"podman\"\nvolumes = [\"/srv:/srv\"]\n"},
		"directories for one user":      {keys: "nested = \"podman\"\nuser = \"build\"\nvolumes = [\"/cache\", \"/srv:/srv\"]\n", warns: "volumes[1]: is open to every user but root"},
		"directories for some users":    {keys: "nested = \"podman\"\nallowed_users = [\"build\"]\nvolumes = [\"/srv:/srv\"]\n", warns: "volumes[0]: is open to every user but root"},
		"directories without an engine": {keys: "user = \"build\"\nvolumes = [\"/srv:/srv\"]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := draft(t, "[[runners]]\nname = \"one\"\nurl = \"https://gitlab.example\"\ntoken = \"glrt-x\"\nexecutor = \"docker\"\n[runners.docker]\nimage = \"alpine\"\n"+c.keys).Config()
			refused, warns := "", ""
			if err := got.Runners[0].Refused; err != nil {
				refused = err.Error()
			}
			for _, w := range got.Warnings {
				warns += w.Error() + "\n"
			}
			for _, text := range [][2]string{{refused, c.refused}, {warns, c.warns}} {
				if (text[0] == "") != (text[1] == "") || !strings.Contains(text[0], text[1]) {
					t.Errorf("refused: %s\nwarnings: %s", refused, warns)
				}
			}
		})
	}
}
