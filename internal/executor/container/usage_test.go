package container_test

import (
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

// result runs a script in the build place and returns how it ended.
func (s *serviceJob) result(script string) stage.Result {
	s.t.Helper()
	c, err := s.agent()
	if err != nil {
		s.t.Fatal(err)
	}
	id := "s" + executor.NewRef("x").ID
	if _, err = c.Start(s.ctx, stage.Spec{ID: id, Dir: "/builds/x", Grace: time.Second, Script: &stage.Script{Lines: []string{script}, Umask: -1}}); err != nil {
		s.t.Fatal(err)
	}
	res, err := c.Wait(s.ctx, id)
	if err != nil {
		s.t.Fatal(err)
	}
	return res
}

func TestUsageIsMeasured(t *testing.T) {
	t.Parallel()
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		o := options(t, e)
		o.Build.Memory = 64 << 20
		confined := !e.Connect(t).Rootless // which may not confine memory with version 1 of cgroups
		if !confined {
			o.Build.Memory = 0
		}
		s := startServices(t, e, newHost(t), o, &job.Job{})
		u := s.result("head -c 20000000 /dev/zero | tail -c 20000000 | md5sum").Usage
		if u == nil || u.Place == "" || u.CPU < time.Millisecond || u.CPU > time.Minute || u.Memory < 15<<20 || u.Memory > 64<<20 || u.OOMKills != 0 {
			t.Fatalf("used: %+v", u)
		}
		if !confined {
			return
		}
		if u.Limit != o.Build.Memory {
			t.Errorf("limit %d", u.Limit)
		}
		first := u.CPU
		res := s.result("head -c 200000000 /dev/zero | tail -c 200000000 > /dev/null; exit 137")
		if u = res.Usage; u == nil || u.OOMKills == 0 || u.Memory < 60<<20 || res.ExitCode != 137 || u.CPU <= first {
			t.Errorf("killed for memory: %+v, %+v", res, u)
		}
		if u := s.result("true").Usage; u.OOMKills != 0 {
			t.Errorf("a later stage: %+v", u)
		}
	})
}
