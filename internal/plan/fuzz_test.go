package plan_test

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/plan"
	"gitlab.com/skerry/skerry/internal/stage"
)

// FuzzPlan holds plans of foreign payloads to what the agent relies on: every path is absolute, clean and
// within the runner's directories, and every name is one that the wire takes.
func FuzzPlan(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		var g given
		if err := json.Unmarshal(b, &g); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(g.Payload), true)
		f.Add([]byte(g.Payload), false)
	}
	f.Add([]byte(`{"id":1,"token":"t","git_info":{"repo_url":"https://x/%2e%2e/%00/../..git"},"steps":[{"name":"Ü b\n/..","script":["x"]},{"name":"Ü b\n/..","script":["y"]}]}`), true)
	f.Add([]byte(`{"id":1,"token":"t","variables":[{"key":"GIT_CLONE_PATH","value":"$CI_BUILDS_DIR/../etc"}]}`), true)
	f.Add([]byte(`{"id":1,"token":"t","variables":[{"key":"GIT_CLONE_PATH","value":"$CI_BUILDS_DIR/x/.././/"}]}`), true)
	f.Add([]byte(`{"id":1,"token":"t","cache":[{"key":"..%2f..\\..%2F..","paths":["x"],"fallback_keys":["/","a/../../b"]}]}`), true)
	f.Fuzz(func(t *testing.T, raw []byte, custom bool) {
		j, err := jobpayload.Translate(raw)
		if err != nil {
			return
		}
		r := defaults().Runner
		r.CustomBuildDir, r.SharedBuilds = custom, !custom
		p, err := plan.New(j, r, plan.Slot{Concurrent: 3, Project: 1}, version())
		if err != nil {
			return
		}
		c := checker{t, p, map[string]bool{}}
		c.layout()
		c.stages()
	})
}

type checker struct {
	t   *testing.T
	p   *plan.Plan
	ids map[string]bool
}

// beneath checks that name is a clean path strictly below dir.
func (c checker) beneath(what, name, dir string) {
	c.t.Helper()
	if path.Clean(name) != name || !strings.HasPrefix(name, dir+"/") {
		c.t.Errorf("%s %q is not a clean path below %q", what, name, dir)
	}
}

func (c checker) layout() {
	c.beneath("project directory", c.p.Layout.Project, "/builds")
	c.beneath("temporary directory", c.p.Layout.Temp, "/builds")
	c.beneath("cache directory", c.p.Layout.Cache, "/cache")
}

// id checks a name on the wire, each of which may be there once.
func (c checker) id(id string) {
	c.t.Helper()
	if !wire.ValidID(id) || c.ids[id] {
		c.t.Errorf("id %q is not valid, or used twice", id)
	}
	c.ids[id] = true
}

func (c checker) stages() {
	c.spec(c.p.Sources().Spec)
	if st, _, err := c.p.RestoreCache(); err == nil {
		c.spec(st.Spec)
	}
	st, _ := c.p.Downloads()
	c.spec(st.Spec)
	for _, st := range c.p.Scripts() {
		c.spec(st.Spec)
	}
	if st, due := c.p.AfterScript("failed"); due {
		c.spec(st.Spec)
	}
	if st, _, err := c.p.SaveCache(true); err == nil {
		c.spec(st.Spec)
	}
	st, uploads := c.p.Pack(true, time.Time{})
	c.spec(st.Spec)
	for i, u := range uploads {
		if u.Archive != st.Spec.Pack.Archives[i].Name || strings.ContainsAny(u.Filename, "/") || u.Filename == ".." {
			c.t.Errorf("upload %+v does not fit the archive %+v", u, st.Spec.Pack.Archives[i])
		}
	}
	c.spec(c.p.Cleanup().Spec)
}

func (c checker) spec(s stage.Spec) {
	c.id(s.ID)
	if s.Dir != c.p.Layout.Project || s.Base != "/builds" {
		c.t.Errorf("stage %s works in %q below %q", s.ID, s.Dir, s.Base)
	}
	for _, v := range s.Env {
		if v.Key == "" || strings.ContainsAny(v.Key, "=\x00") || v.File == "" && strings.Contains(v.Value, "\x00") {
			c.t.Errorf("variable %q cannot be one", v.Key)
		}
		if v.File != "" && path.Dir(v.File) != c.p.Layout.Temp {
			c.t.Errorf("file variable %q is at %q", v.Key, v.File)
		}
	}
	if s.Script != nil {
		c.beneath("GITLAB_ENV", s.Script.EnvFile, c.p.Layout.Temp)
	}
	if s.RestoreCache != nil {
		for _, cache := range s.RestoreCache.Caches {
			for _, f := range cache.Candidates {
				c.beneath("cache", f.Path, c.p.Layout.Cache)
			}
		}
	}
	if s.SaveCache != nil {
		for _, cache := range s.SaveCache.Caches {
			c.beneath("cache", cache.Path, c.p.Layout.Cache)
		}
	}
	if s.Unpack != nil {
		for _, name := range s.Unpack.Archives {
			c.id(name)
		}
	}
	if s.Pack != nil {
		for _, one := range s.Pack.Archives {
			c.id(one.Name)
		}
	}
	if s.Remove != nil {
		for _, name := range s.Remove.Paths {
			c.beneath("path to remove", name, "/builds")
		}
	}
}
