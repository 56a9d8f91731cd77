package files_test

import (
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/stage"
	"gitlab.com/skerry/skerry/internal/stage/stagetest"
)

// packed is what Pack left under a name.
func packed(t *testing.T, p *stagetest.Place, name string) []byte {
	t.Helper()
	b, err := p.Archives.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestPack(t *testing.T) {
	t.Parallel()
	p := stagetest.New(t)
	dir := tree(t, "out/a", "out/b", "report.xml")
	res := p.Run(t, &stage.Spec{ID: "pack", Dir: dir, Pack: &stage.Pack{Archives: []stage.PackOne{
		{Name: "artifact-0", Format: "zip", Title: "archive", Files: stage.Files{Paths: []string{"out"}}},
		{Name: "artifact-1", Format: "gzip", Title: "junit", Files: stage.Files{Paths: []string{"report.xml", "out/a"}}},
		{Name: "artifact-2", Format: "raw", Title: "dotenv", Files: stage.Files{Paths: []string{"out/b"}}},
		{Name: "artifact-3", Format: "zip", Title: "archive", Files: stage.Files{Paths: []string{"none"}}},
	}}})
	if res.Reason != stage.Success || len(res.Archives) != 3 {
		t.Fatalf("result = %+v\n%s", res, p.Out.String())
	}
	for _, a := range res.Archives {
		b := packed(t, p, a.Name)
		sum := sha256.Sum256(b)
		if a.Size != int64(len(b)) || a.SHA256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: said to be %d bytes, %s; is %d bytes, %x", a.Name, a.Size, a.SHA256, len(b), sum)
		}
	}
	if got := string(packed(t, p, "artifact-2")); got != "content of out/b" {
		t.Errorf("raw = %q", got)
	}
	gz, err := gzip.NewReader(bytes.NewReader(packed(t, p, "artifact-1")))
	if err != nil {
		t.Fatal(err)
	}
	if content, err := io.ReadAll(gz); err != nil || string(content) != "content of out/acontent of report.xml" {
		t.Errorf("gzip = %q, %v", content, err)
	}
	want := strings.Join([]string{
		"Uploading artifacts...", "out: found 3 matching artifact files and directories",
		"Uploading artifacts...", "report.xml: found 1 matching artifact files and directories",
		"out/a: found 1 matching artifact files and directories",
		"Uploading artifacts...", "out/b: found 1 matching artifact files and directories",
		"Uploading artifacts...", "WARNING: none: no matching files. Ensure that the artifact path is relative to the working directory (DIR)",
		"ERROR: No files to upload", "",
	}, "\n")
	if diff := cmp.Diff(want, plainLog(p.Out.String(), dir)); diff != "" {
		t.Errorf("log differs (-want +got):\n%s", diff)
	}
}

func TestPackRefuses(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]stage.PackOne{
		"only one file can be sent as raw": {Name: "a", Format: "raw", Files: stage.Files{Paths: []string{"x", "y"}}},
		"not a regular file":               {Name: "a", Format: "gzip", Files: stage.Files{Paths: []string{"d"}}},
		"cannot be written":                {Name: "a", Format: "arj", Files: stage.Files{Paths: []string{"x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := stagetest.New(t)
			res := p.Run(t, &stage.Spec{ID: "pack", Dir: tree(t, "x", "y", "d/"), Pack: &stage.Pack{Archives: []stage.PackOne{one}}})
			if res.Reason != stage.Failed || !strings.Contains(res.Message, name) {
				t.Errorf("result = %+v", res)
			}
			if f, err := p.Archives.Open("."); err != nil {
				t.Error(err)
			} else if left, _ := f.Readdirnames(-1); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestPackMetadata(t *testing.T) {
	t.Parallel()
	p := stagetest.New(t)
	dir := tree(t, "out/a", "out/link->a")
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	res := p.Run(t, &stage.Spec{ID: "pack", Dir: dir, Pack: &stage.Pack{Archives: []stage.PackOne{{
		Name: "artifact-0", Format: "zip", Files: stage.Files{Paths: []string{"out"}},
		Metadata: &stage.Metadata{
			ArtifactName: "artifacts.zip", RunnerID: "7", RunnerName: "r", RepoURL: "https://gitlab.example/g/p", RepoDigest: "abc",
			JobID: "42", JobName: "build", StartedAt: at, EndedAt: at.Add(time.Minute), Parameters: map[string]string{"CI": ""},
			Executor: "shell", Version: "1.2.3",
		},
	}}}})
	if res.Reason != stage.Success {
		t.Fatalf("result = %+v", res)
	}
	b := packed(t, p, "artifact-0")
	zr, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	f, err := zr.Open("artifacts-metadata.json")
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.NewDecoder(f).Decode(&got); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("content of out/a"))
	subject := []any{map[string]any{"name": "out/a", "digest": map[string]any{"sha256": hex.EncodeToString(sum[:])}}}
	if diff := cmp.Diff(subject, got["subject"]); diff != "" {
		t.Errorf("subject differs (-want +got):\n%s", diff)
	}
	run := got["predicate"].(map[string]any)["runDetails"].(map[string]any)
	want := map[string]any{
		"builder":  map[string]any{"id": "https://gitlab.example/g/p/-/runners/7", "version": map[string]any{"skerry": "1.2.3"}},
		"metadata": map[string]any{"invocationId": "42", "startedOn": "2026-05-04T03:02:01Z", "finishedOn": "2026-05-04T03:03:01Z"},
	}
	if diff := cmp.Diff(want, run); diff != "" {
		t.Errorf("runDetails differ (-want +got):\n%s", diff)
	}
}

func TestUnpack(t *testing.T) {
	t.Parallel()
	p := stagetest.New(t)
	for name, content := range map[string]string{"dependency-1": "first", "dependency-2": "second"} {
		dir := tree(t)
		stagetest.WriteFile(t, filepath.Join(dir, "shared"), content)
		stagetest.WriteFile(t, filepath.Join(dir, "only/"+name), content)
		res := p.Run(t, &stage.Spec{ID: "pack", Dir: dir, Pack: &stage.Pack{Archives: []stage.PackOne{{Name: name, Format: "zip", Files: stage.Files{Paths: []string{"."}}}}}})
		if res.Reason != stage.Success {
			t.Fatalf("result = %+v", res)
		}
	}
	dir := tree(t, "mine")
	res := p.Run(t, &stage.Spec{ID: "unpack", Dir: dir, Unpack: &stage.Unpack{Archives: []string{"dependency-2", "dependency-1"}}})
	if res.Reason != stage.Success {
		t.Fatalf("result = %+v", res)
	}
	if got := stagetest.ReadFile(t, filepath.Join(dir, "shared")); got != "first" {
		t.Errorf("the later archive did not win: %q", got)
	}
	for _, name := range []string{"mine", "only/dependency-1", "only/dependency-2"} {
		stagetest.ReadFile(t, filepath.Join(dir, name))
	}
	if _, err := p.Archives.Lstat("dependency-1"); !os.IsNotExist(err) {
		t.Errorf("the archive was kept: %v", err)
	}
	res = p.Run(t, &stage.Spec{ID: "again", Dir: dir, Unpack: &stage.Unpack{Archives: []string{"dependency-1"}}})
	if res.Reason != stage.System || !strings.Contains(res.Message, "dependency-1") {
		t.Errorf("result without the archive = %+v", res)
	}
	if err := p.Archives.WriteFile("dependency-3", []byte("no zip"), 0o600); err != nil {
		t.Fatal(err)
	}
	res = p.Run(t, &stage.Spec{ID: "bad", Dir: dir, Unpack: &stage.Unpack{Archives: []string{"dependency-3"}}})
	if res.Reason != stage.Failed || res.ExitCode != 1 || !strings.Contains(res.Message, "dependency-3") {
		t.Errorf("result of a broken archive = %+v", res)
	}
}
