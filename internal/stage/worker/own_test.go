package worker_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// TestOwn gives what earlier jobs have left to the user of the next one.
func TestOwn(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const names = "group group/p group/p/dir group/p/dir/file group/p/link group/p.tmp"
	for name, test := range map[string]struct {
		left []string // PATH:MODE:UID, or PATH>LINK, of earlier jobs
		shut bool
		want string // of names: MODE:UID
	}{
		"nothing there": {
			want: "755:7 755:7 - - - 755:7",
		},
		"nothing there, shut": {
			shut: true,
			want: "755:7 755:7 - - - 755:7",
		},
		"all of it": {
			left: []string{"group:777:0", "group/p:777:0", "group/p/dir:755:0", "group/p/dir/file:644:0", "group/p/link>/", "group/p.tmp:777:0"},
			want: "777:7 777:7 755:7 644:7 777:7 777:7",
		},
		"open to everybody": {
			left: []string{"group:777:0", "group/p:777:0", "group/p/dir:777:0", "group/p/dir/file:666:0", "group/p.tmp:777:0"},
			shut: true,
			want: "777:0 777:0 777:0 666:0 - 777:0",
		},
		"of another user": {
			left: []string{"group:755:0", "group/p:755:9", "group/p/dir:755:9", "group/p/dir/file:644:9", "group/p/link>/"},
			shut: true,
			want: "755:7 755:7 755:7 644:7 777:7 755:7",
		},
		"of the user": {
			left: []string{"group:755:7", "group/p:755:7", "group/p/dir:777:0", "group/p.tmp:700:7"},
			shut: true,
			want: "755:7 755:7 777:0 - - 700:7",
		},
		"links in the way": {
			left: []string{"group:777:0", "group/p>../../outside", "group/p.tmp>../../outside"},
			want: "777:7 755:7 - - - 755:7",
		},
		"a link above": {
			left: []string{"group>../outside"},
			shut: true,
			want: "755:7 755:7 - - - 755:7",
		},
		"a file in the way": {
			left: []string{"group:777:0", "group/p.tmp:644:9!"},
			want: "777:7 755:7 - - - 755:7",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			base := filepath.Join(dir, "builds")
			for _, d := range []string{base, filepath.Join(dir, "outside"), filepath.Join(dir, "outside", "p")} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, text := range test.left {
				leave(t, base, text)
			}
			spec := &stage.Spec{Base: base, Own: &stage.Own{
				Dirs: []string{base + "/group"}, Paths: []string{base + "/group/p", base + "/group/p.tmp"}, UID: 7, GID: 8, Shut: test.shut,
			}}
			if res := stagetest.New(t).Run(t, spec); res.Reason != stage.Success {
				t.Errorf("result: %+v", res)
			}
			var got []string
			for n := range strings.FieldsSeq(names) {
				got = append(got, look(filepath.Join(base, n)))
			}
			if diff := cmp.Diff(strings.Fields(test.want), got); diff != "" {
				t.Error(diff)
			}
			for _, n := range []string{"outside", "outside/p"} {
				if got := look(filepath.Join(dir, n)); got != "755:0" {
					t.Errorf("%s, outside, is %s", n, got)
				}
			}
		})
	}
}

// leave makes what text says below base.
func leave(t *testing.T, base, text string) {
	t.Helper()
	var err error
	if name, target, ok := strings.Cut(text, ">"); ok {
		err = os.Symlink(target, filepath.Join(base, name))
	} else {
		var mode fs.FileMode
		var uid int
		parts := strings.Split(text, ":")
		path := filepath.Join(base, parts[0])
		_, _ = fmt.Sscanf(strings.Join(parts[1:], " "), "%o %d", &mode, &uid)
		if filepath.Base(path) == "file" || strings.HasSuffix(text, "!") {
			err = os.WriteFile(path, nil, 0o600)
		} else {
			err = os.Mkdir(path, 0o700)
		}
		if err == nil {
			err = os.Chmod(path, mode)
		}
		if err == nil {
			err = os.Chown(path, uid, uid)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

func look(path string) string {
	info, err := os.Lstat(path)
	if err != nil {
		return "-"
	}
	return fmt.Sprintf("%o:%d", info.Mode().Perm(), info.Sys().(*syscall.Stat_t).Uid)
}
