package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestRegisterScript runs images/runner/register.sh with stand-ins for the program and for a cat that finds the disk full: the
// configuration stays what it was, and only a machine of a runner that was made in GitLab is unregistered.
func TestRegisterScript(t *testing.T) {
	t.Parallel()
	const old = "concurrent = 3\n[[runners]]\n  token = \"glrt-old\"\n"
	for name, c := range map[string]struct {
		token        string
		full         bool
		unregistered string
	}{
		"made in GitLab":      {"glrt-new", false, "[[runners]]\n  token = \"glrt-new\"\n"},
		"by registration":     {"legacy", false, ""},
		"the disk is full":    {"glrt-new", true, "[[runners]]\n  token = \"glrt-new\"\n"},
		"with another prefix": {"mine-glrt-new", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			config := filepath.Join(dir, "config.toml")
			write := func(name, text string) {
				syscall.ForkLock.RLock() // a process that another test is starting just now must not have it open for writing
				defer syscall.ForkLock.RUnlock()
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil { //nolint:gosec // programs
					t.Fatal(err)
				}
			}
			write("config.toml", old)
			write("skerry", `#!/bin/sh
case $1 in
register) echo r_123 >"${3%/*}/.runner_system_id"; printf '[[runners]]\n  token = "`+c.token+`"\n' >>"$3" ;;
unregister) [ "$(/bin/cat "${3%/*}/.runner_system_id")" = r_123 ] && [ "$4" = --all-runners ] && /bin/cat "$3" >"`+dir+`/unregistered" ;;
esac
`)
			if c.full {
				write("cat", "#!/bin/sh\ncase $1 in */before) ;; */config.toml) [ \"$1\" = '"+config+"' ] || { echo conc; exit 1; } ;; esac\nexec /bin/cat \"$@\"\n")
			}
			script := strings.NewReplacer("/home/runner/.gitlab-runner/config.toml", config, "/usr/local/bin/skerry", dir+"/skerry").Replace(readFile(t, "../../images/runner/register.sh"))
			cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", script)
			cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin", "TMPDIR=" + dir}
			out, err := cmd.CombinedOutput()
			if (err != nil) != c.full {
				t.Errorf("%v: %s", err, out)
			}
			want := old
			if !c.full {
				want += "[[runners]]\n  token = \"" + c.token + "\"\n"
			}
			if got := readFile(t, config); got != want {
				t.Errorf("the configuration is %q, want %q", got, want)
			}
			if got, err := os.ReadFile(filepath.Join(dir, "unregistered")); string(got) != c.unregistered || (err != nil) != (c.unregistered == "") {
				t.Errorf("unregistered %q, want %q: %v", got, c.unregistered, err)
			}
		})
	}
}
