package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/pipeline"
)

func TestNext(t *testing.T) {
	t.Parallel()
	const yaml = `
stages: [one, two]
a: {stage: one, script: x}
m: {stage: one, script: x, when: manual}
b: {stage: two, script: x}
f: {stage: two, script: x, when: on_failure}
n: {stage: two, script: x, needs: [a]}
w: {stage: two, script: x, needs: [m]}
e: {stage: two, script: x, needs: []}
l: {stage: two, script: x, when: always}
k: {stage: two, script: x, when: always, needs: [a]}
`
	p, err := pipeline.Parse("f.yml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	const (
		a, m, b, f, n, w, e, l, k = 0, 1, 2, 3, 4, 5, 6, 7, 8
	)
	cases := []struct {
		name string
		a, m pipeline.Outcome
		want map[int]pipeline.Step
	}{
		{"nothing yet", pipeline.Waiting, pipeline.Waiting, map[int]pipeline.Step{a: pipeline.Start, m: pipeline.Hold, b: pipeline.Wait, n: pipeline.Wait, e: pipeline.Start}},
		{"passed", pipeline.Passed, pipeline.Held, map[int]pipeline.Step{b: pipeline.Start, f: pipeline.Skip, n: pipeline.Start, w: pipeline.Skip, l: pipeline.Start}},
		{"broken", pipeline.Broken, pipeline.Held, map[int]pipeline.Step{b: pipeline.Skip, f: pipeline.Start, n: pipeline.Skip, l: pipeline.Start, k: pipeline.Start}},
		{"skipped", pipeline.Skipped, pipeline.Held, map[int]pipeline.Step{b: pipeline.Start, n: pipeline.Skip, l: pipeline.Start, k: pipeline.Start}},
		{"stopped", pipeline.Stopped, pipeline.Held, map[int]pipeline.Step{b: pipeline.Skip, f: pipeline.Skip, n: pipeline.Skip, l: pipeline.Skip, k: pipeline.Skip}},
		{"played", pipeline.Passed, pipeline.Going, map[int]pipeline.Step{b: pipeline.Wait, n: pipeline.Start, w: pipeline.Wait}},
	}
	for _, tc := range cases {
		outcomes := make([]pipeline.Outcome, len(p.Jobs))
		outcomes[a], outcomes[m] = tc.a, tc.m
		got := map[int]pipeline.Step{}
		for i := range tc.want {
			got[i] = p.Next(i, outcomes)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
	if diff := cmp.Diff([]int{a, m}, p.Sources(b)); diff != "" {
		t.Errorf("sources (-want +got):\n%s", diff)
	}
}
