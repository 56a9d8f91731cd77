package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestNormalLogsHoldWhatUsersWrote(t *testing.T) {
	t.Parallel()
	const log = "Running with a runner\n" +
		"section_start:1795389713:step_script\r\x1b[0K\x1b[0K\x1b[36;1mExecuting\x1b[0;m\x1b[0;m\n" +
		"\x1b[32;1m$ pwd\x1b[0;m\n/srv/one/builds at 127.0.0.1:80 with t0ken\nbash: line 12: x: not found\n\nno end" +
		"section_end:1795389714:step_script\r\x1b[0Ksection_start:1795389714:upload_artifacts_on_success\r\x1b[0K" +
		"out: found 3 matching files\n\nmade by a script\nsection_end:1795389714:upload_artifacts_on_success\r\x1b[0K\x1b[32;1mJob succeeded\x1b[0;m\n"
	o := &outcome{side: side{name: theirs, dir: "/srv/one"}, url: "http://127.0.0.1:80"}
	got := o.normal(try{log: log, token: "t0ken"})
	want := []string{
		"step_script| \x1b[36;1mExecuting", "step_script| \x1b[32;1m$ pwd", "step_script| DIR/builds at HOST with JOBTOKEN",
		"step_script| bash: line N: x: not found", "step_script| ", "step_script| no end",
		"upload_artifacts_on_success| made by a script", "| \x1b[32;1mJob succeeded",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestDifferencesAreFound(t *testing.T) {
	t.Parallel()
	one := &outcome{side: side{name: ours}, tries: []try{
		{name: "1/a", status: "success", log: "x\n"}, {name: "1/b", status: "failed", reason: "script_failure", exit: 2, artifacts: []string{"f"}},
		{name: "1/mine"}, {name: "1/order", log: "p\nq\n"},
	}}
	other := &outcome{side: side{name: theirs}, caches: []string{"group/project/compile-protected/cache.zip"}, tries: []try{
		{name: "1/a", status: "success", log: "y\n"}, {name: "1/b", status: "failed", reason: "script_failure", exit: 1, artifacts: []string{"g"}},
		{name: "1/order", log: "q\np\n"}, {name: "1/yours"},
	}}
	var got []string
	for _, d := range compare("r", one, other) {
		text := d.String()
		if d.accepted != "" {
			text = "accepted: " + text
		}
		got = append(got, text)
	}
	want := []string{
		"r caches: - gitlab-runner, + skerry:\n           - \"group/project/compile-protected/cache.zip\"",
		"r 1/a log: - gitlab-runner, + skerry:\n           - \"| y\"\n           + \"| x\"",
		"r 1/b: gitlab-runner: failed script_failure exit 1, skerry: failed script_failure exit 2",
		"r 1/b artifacts: - gitlab-runner, + skerry:\n           - \"g\"\n           + \"f\"",
		"r 1/mine: only skerry ran it",
		"accepted: r 1/order log: only the order, - gitlab-runner, + skerry:\n           - \"| q\"\n           + \"| q\"",
		"r 1/yours: only gitlab-runner ran it",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
