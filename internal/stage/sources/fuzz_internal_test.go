package sources

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

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
		plant(t, filepath.Join(dir, "pack", "pack-x.idx"), string(index))
		plant(t, filepath.Join(dir, "pack", "pack-x.pack"), "")
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
			plant(t, filepath.Join(dir, file), content)
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

func plant(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Whatever stands in an index is read without harm, and makes a tree.
func FuzzIndex(f *testing.F) {
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x00" + strings.Repeat("x", 20)))
	entry := strings.Repeat("\x00", 40) + strings.Repeat("x", 20) + "\x00\x01a"
	f.Add([]byte("DIRC\x00\x00\x00\x02\x00\x00\x00\x01" + entry + strings.Repeat("\x00", 9) + strings.Repeat("x", 20)))
	f.Add([]byte("DIRC\x00\x00\x00\x04\x00\x00\x00\x01" + strings.Repeat("\x00", 60) + "\x00\x01\x00a/b\x00" + strings.Repeat("x", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := parseIndex(b, 20)
		if err == nil && len(treeID(list, "sha1")) != 20 {
			t.Error("no tree")
		}
	})
}
