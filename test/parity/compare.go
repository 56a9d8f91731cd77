package main

import (
	"fmt"
	"slices"
	"strings"
)

// difference is one between the two runners.
type difference struct {
	where    string
	what     string
	accepted string // why; empty when it is not
}

func (d difference) String() string { return d.where + ": " + d.what }

// compare lists all differences of two outcomes of a repository's pipelines.
func compare(repository string, a, b *outcome) []difference {
	var out []difference
	differ := func(where, what string) {
		d := difference{where: repository + " " + where, what: what}
		for _, r := range accepted() {
			if r.pattern.MatchString(d.String()) {
				d.accepted = r.why
				break
			}
		}
		out = append(out, d)
	}
	lines := func(where string, a, b []string) {
		if slices.Equal(a, b) {
			return
		}
		what := "- gitlab-runner, + skerry:\n"
		if slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))) {
			what = "only the order, " + what
		}
		differ(where, what+changes(b, a))
	}
	lines("caches", a.caches, b.caches)
	lines("breaches of the contract", a.breaches, b.breaches)
	for _, x := range a.tries {
		i := slices.IndexFunc(b.tries, func(y try) bool { return y.name == x.name })
		if i < 0 {
			differ(x.name, "only skerry ran it")
			continue
		}
		y := b.tries[i]
		if p, q := state(x), state(y); p != q {
			differ(x.name, fmt.Sprintf("gitlab-runner: %s, skerry: %s", q, p))
		}
		lines(x.name+" artifacts", x.artifacts, y.artifacts)
		lines(x.name+" dotenv", x.dotenv, y.dotenv)
		lines(x.name+" log", a.normal(x), b.normal(y))
	}
	for _, y := range b.tries {
		if !slices.ContainsFunc(a.tries, func(x try) bool { return y.name == x.name }) {
			differ(y.name, "only gitlab-runner ran it")
		}
	}
	return out
}

func state(t try) string {
	return strings.TrimSpace(fmt.Sprintf("%s %s exit %d", t.status, t.reason, t.exit))
}

// changes shows the lines that were taken from a and added in b, in the order of a longest common
// subsequence.
func changes(a, b []string) string {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			fmt.Fprintf(&out, "           - %q\n", a[i])
			i++
		default:
			fmt.Fprintf(&out, "           + %q\n", b[j])
			j++
		}
	}
	return strings.TrimSuffix(out.String(), "\n")
}
