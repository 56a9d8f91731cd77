package generations_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor/container/generations"
)

func TestWhichImagesAreOffered(t *testing.T) {
	t.Parallel()
	old := generations.Image{ID: "old", Tags: []string{"localhost/app:1", "docker.io/library/debian:trixie"}, Size: 1, ReadOnly: true}
	both := []string{"localhost/app:1", "docker.io/library/debian:trixie"}
	var tags []string
	for i := range 17 {
		tags = append(tags, fmt.Sprintf("localhost/a:%d", i))
	}
	const half = generations.MaxBytes / 2
	for name, c := range map[string]struct {
		has  []generations.Image
		want generations.Selection
	}{
		"nothing":        {},
		"nothing new":    {[]generations.Image{old}, generations.Selection{Names: both, Size: 1}},
		"its own first":  {[]generations.Image{old, {ID: "new", Tags: []string{"localhost/app:1"}, Size: 2}}, generations.Selection{both, 3, true}},
		"built again":    {[]generations.Image{old, {ID: "old", Tags: []string{"localhost/app:1"}}}, generations.Selection{Names: both}},
		"without a name": {has: []generations.Image{{ID: "new"}}},
		"odd names":      {has: []generations.Image{{ID: "new", Tags: []string{"", "<none>:<none>", "a b", "localhost/x@sha256:1", "-x:1"}}}},
		"too large":      {has: []generations.Image{{ID: "new", Tags: []string{"localhost/x:1"}, Size: generations.MaxBytes + 1}, {ID: "bad", Tags: []string{"localhost/y:1"}, Size: -1}}},
		"a list":         {has: []generations.Image{{ID: "new", Tags: []string{"localhost/x:1"}, List: true}}},
		"many names weigh once": {
			[]generations.Image{{ID: "new", Tags: tags, Size: half}, {ID: "small", Tags: []string{"localhost/b:1"}, Size: half}, old},
			generations.Selection{append(tags[:17:17], "localhost/b:1"), 2 * half, true},
		},
		"sizes that overflow": {
			[]generations.Image{{ID: "x", Tags: []string{"localhost/x:1"}, Size: 1}, {ID: "y", Tags: []string{"localhost/y:1"}, Size: math.MaxInt64}, {ID: "z", Tags: []string{"localhost/z:1"}, Size: generations.MaxBytes}},
			generations.Selection{[]string{"localhost/x:1"}, 1, true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(c.want, generations.Select(c.has)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestListOfImages is what a job's engine says, who may say anything.
func TestListOfImages(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		says, err string
		want      int
	}{
		"images":       {says: `[{"Id":"1","RepoTags":["localhost/x:1"],"Size":3},{"Id":"2"}]`, want: 2},
		"none":         {says: `[]`},
		"null":         {says: `null`, err: "it is no list"},
		"an error":     {says: `{"cause":"x"}`, err: "it is no list"},
		"text":         {says: `"` + strings.Repeat("x", 1000) + `"`, err: "it is no list"},
		"cut off":      {says: `[{"Id":"1"},{"Id":`, err: "unexpected EOF"},
		"a bomb":       {says: "[" + strings.Repeat("{},", 1<<20) + "{}]", err: "more than 4096 images"},
		"long":         {says: `[{"Id":"` + strings.Repeat("x", 3<<20) + `"}]`, err: "more than 2048 KiB"},
		"after an end": {says: `[{"Id":"1"}`, err: "EOF"},
		"other types":  {says: `[{"Id":1}]`, err: "cannot unmarshal"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := generations.ReadList(strings.NewReader(c.says))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) || len(err.Error()) > 300 {
					t.Errorf("the error is %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || len(all) != c.want {
				t.Errorf("%d images, want %d: %v", len(all), c.want, err)
			}
		})
	}
}

func TestWhatWasLoaded(t *testing.T) {
	t.Parallel()
	for answer, whole := range map[string]bool{
		`{"Names":["b:1","a:1"]}`:              true,
		`{"Names":["a:1"]}`:                    false,
		`{"Names":["a:1","b:1","debian:new"]}`: false,
		`{}`:                                   false,
		`loaded`:                               false,
	} {
		if err := generations.CheckLoaded(strings.NewReader(answer), []string{"a:1", "b:1"}); (err == nil) != whole {
			t.Errorf("%s: %v", answer, err)
		}
	}
}
