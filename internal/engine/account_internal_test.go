package engine

import (
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	helper := func(u stage.Usage) *stage.Usage { u.Place = "h"; return &u }
	build := func(u stage.Usage) *stage.Usage { u.Place = "b"; return &u }
	type result struct {
		name job.StageName
		res  stage.Result
	}
	for name, c := range map[string]struct {
		results   []result
		artifacts int64
		want      string
	}{
		"nothing is known": {want: "1m15s wall time"},
		"an older agent":   {results: []result{{job.StageGetSources, stage.Result{}}}, want: "1m15s wall time"},
		"all": {results: []result{
			{job.StageGetSources, stage.Result{Usage: helper(stage.Usage{CPU: time.Second, Memory: 20 * mib, Fetched: 3 * mib / 2})}},
			{job.StageRestoreCache, stage.Result{Usage: helper(stage.Usage{CPU: 1500 * time.Millisecond, Memory: 10 * mib}), Caches: []stage.CacheResult{{Hit: true, Bytes: 2048}}}},
			{"step_script", stage.Result{Usage: build(stage.Usage{CPU: 2 * time.Second, Memory: 300 * mib, Limit: 512 * mib})}},
			{job.StageAfterScript, stage.Result{Usage: build(stage.Usage{CPU: 3 * time.Second, Memory: 300 * mib, Limit: 512 * mib})}},
		}, artifacts: mib / 2, want: "1m15s wall time, 4.5s CPU time, peak memory 300 MiB of 512 MiB, fetched 2.0 MiB (sources 1.5 MiB, artifacts 512 KiB), cache hit (2.0 KiB)"},
		"some caches": {results: []result{
			{job.StageRestoreCache, stage.Result{Caches: []stage.CacheResult{{Hit: true, Bytes: 10}, {}, {}}}},
		}, want: "1m15s wall time, cache hit 1 of 3 (10 B)"},
		"no cache": {results: []result{{job.StageRestoreCache, stage.Result{Caches: []stage.CacheResult{{}}}}}, want: "1m15s wall time, cache miss"},
		"lies": {results: []result{
			{"step_script", claimed(stage.Result{Usage: build(stage.Usage{CPU: -5, Memory: -1 << 60, Limit: 1 << 62, Fetched: -1})})},
			{job.StageRestoreCache, claimed(stage.Result{Caches: []stage.CacheResult{{Hit: true, Bytes: -1 << 60}}})},
		}, want: "1m15s wall time, fetched 0 B, cache hit (0 B)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := &account{}
			for _, r := range c.results {
				a.add(r.name, r.res)
			}
			if got := a.words(75*time.Second+300*time.Millisecond, c.artifacts); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
	if got, want := memoryWords(&stage.Usage{OOMKills: 1, Memory: 64 * mib, Limit: 64 * mib}),
		": out of memory: the kernel killed a process of the job (limit 64.0 MiB, peak 64.0 MiB)"; got != want {
		t.Errorf("%q", got)
	}
}
