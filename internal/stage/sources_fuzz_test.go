package stage

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Whatever the environment file of a job holds becomes variables that a shell can export, or nothing.
func FuzzEnvFile(f *testing.F) {
	for _, s := range []string{"A=1\nB=2", "A\n=\n9=1\n", " A=b c \r\n\x00=\xff\n", "A=$(x)\nA=b\x00c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		vars, bad := parseEnv(text)
		for _, v := range vars {
			if !isName(v.Key) || strings.ContainsAny(v.Value, "\n\x00") {
				t.Errorf("%q: %q", v.Key, v.Value)
			}
		}
		if lines := strings.Count(string(text), "\n") + 1; len(vars)+bad > lines {
			t.Errorf("%d variables and %d bad lines of %d", len(vars), bad, lines)
		}
	})
}

// Whatever a job leaves in place of a pack index answers without harm.
func FuzzPackIndex(f *testing.F) {
	sha := strings.Repeat("ab", 20)
	table := make([]byte, 256*4)
	for i := range 256 {
		table[i*4] = 0xff
	}
	f.Add([]byte("\xfftOc\x00\x00\x00\x02"))
	f.Add(append([]byte("\xfftOc\x00\x00\x00\x02"), table...))
	f.Add(slices.Concat([]byte("\xfftOc\x00\x00\x00\x02"), make([]byte, 1024), []byte(strings.Repeat("\xab", 20))))
	f.Fuzz(func(t *testing.T, index []byte) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "pack", "pack-x.idx"), string(index))
		writeFile(t, filepath.Join(dir, "pack", "pack-x.pack"), "")
		s := openObjects(dir, "sha1")
		defer s.close()
		if s.has(sha) && !strings.Contains(string(index), strings.Repeat("\xab", 20)) {
			t.Error("the object is not in the index")
		}
	})
}

// Whatever a job leaves in a git directory, only objects and the shallow list stay, and what is taken
// for a commit is an object's name.
func FuzzReclaim(f *testing.F) {
	sha := strings.Repeat("a", 40)
	f.Add(sha+"\n", "# pack-refs\n"+sha+" refs/heads/main\n", sha+"\n", "pack-"+sha+".pack")
	f.Add("ref: refs/heads/main", "^"+sha, "shallow", "objects")
	f.Add("ref: ../../../etc/passwd", "\x00", sha, "tmp_pack_1")
	f.Fuzz(func(t *testing.T, head, packed, shallow, name string) {
		dir := t.TempDir()
		for file, content := range map[string]string{"HEAD": head, "packed-refs": packed, "shallow": shallow, "objects/aa/" + sha[2:]: "x"} {
			writeFile(t, filepath.Join(dir, file), content)
		}
		if filepath.IsLocal(name) && !strings.Contains(name, "/") && len(name) < 200 {
			_ = os.MkdirAll(filepath.Join(dir, "objects/pack"), 0o755)
			_ = os.WriteFile(filepath.Join(dir, "objects/pack", name), []byte("x"), 0o644)
			_ = os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o644)
		}
		k := keeper{dir: dir, format: "sha1"}
		haves, err := k.keep()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range append(haves, k.head) {
			if h != "" && h != sha {
				t.Errorf("%q is taken for a commit", h)
			}
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() != "objects" && e.Name() != "shallow" {
				t.Errorf("%q is still there", e.Name())
			}
		}
	})
}

func TestPowerShellText(t *testing.T) {
	t.Parallel()
	got := text{kind: pwsh, script: &Script{}}.powershell([]group{{"script_step", []string{"Write-Output 'a'", "if (1) {\n2 }", ""}}})
	check := "if (!$?) { exit $(if ($LASTEXITCODE) { $LASTEXITCODE } else { 1 }) }\n"
	want := "$ErrorActionPreference = 'Stop'\n" +
		"[Console]::Out.WriteLine('\x1b[32;1m$ Write-Output ''a''\x1b[0;m')\nWrite-Output 'a'\n" + check +
		"[Console]::Out.WriteLine('\x1b[32;1m$ if (1) { # collapsed multi-line command\x1b[0;m')\nif (1) {\n2 }\n" + check +
		"[Console]::Out.WriteLine('')\n\n" + check
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
