package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/cli"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(cli.Main(cli.Build{Version: "1.2.3", Revision: "abcdef12"})) }
	testscript.Main(m, map[string]func(){"skerry": program, "gitlab-runner": program})
}

// TestScripts drives the real commands against a coordinator of their own. Beside the usual
// variables a script has SERVER, REGISTRATION (its registration token), USERTOKEN (a user's) and GLRT, GLRT2 (the tokens
// of two runners made there), and the commands
//
//	runners FILE          writes what the coordinator knows of its runners
//	forget TOKEN          deletes a runner there
//	fault ENDPOINT STATUS answers the next call so
//	mode FILE OCTAL       checks a file's mode
//	tokens FILE           replaces random parts of FILE (tokens, dates, ids) by words
//	job LINE…             queues a job that runs these lines
//	result N STATUS       waits for the end of the N-th job, whose log becomes jobN.log
//	until PATTERN FILE    waits until a line of FILE matches
//	signal NAME FILE      sends a signal to the runner whose log is FILE
func TestScripts(t *testing.T) {
	t.Parallel()
	runScripts(t, "testdata/script")
}

// TestRunScripts are those that run jobs.
func TestRunScripts(t *testing.T) {
	t.Parallel()
	memory, err := os.MkdirTemp("/dev/shm", "skerry-test")
	if err != nil {
		t.Fatal("the scripts need a file system in memory at /dev/shm: ", err)
	}
	t.Cleanup(func() { os.RemoveAll(memory) })
	runScripts(t, "testdata/run", "SKERRY_AGENT="+agenttest.Build(t), "MEMORY="+memory)
}

func runScripts(t *testing.T, dir string, environ ...string) {
	t.Helper()
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup:               func(env *testscript.Env) error { return setUpScript(env, environ) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"runners": writeRunners,
			"forget":  func(ts *testscript.TestScript, _ bool, args []string) { coordinator(ts).RemoveRunner(args[0]) },
			"fault": func(ts *testscript.TestScript, _ bool, args []string) {
				status, err := strconv.Atoi(args[1])
				ts.Check(err)
				coordinator(ts).Fault(fault.Fault{Endpoint: args[0], Status: status, Count: 1})
			},
			"mode": func(ts *testscript.TestScript, _ bool, args []string) {
				info, err := os.Stat(ts.MkAbs(args[0]))
				ts.Check(err)
				if got := strconv.FormatUint(uint64(info.Mode().Perm()), 8); got != args[1] {
					ts.Fatalf("%s has mode %s, want %s", args[0], got, args[1])
				}
			},
			"tokens": hideTokens,
			"job": func(ts *testscript.TestScript, _ bool, args []string) {
				_, err := coordinator(ts).AddJob(context.Background(), gitlabtest.JobSpec{Script: args})
				ts.Check(err)
			},
			"result": jobResult,
			"until":  until,
			"signal": sendSignal,
		},
	})
}

// setUpScript starts a script's coordinator.
func setUpScript(env *testscript.Env, environ []string) error {
	c, err := gitlabtest.New(gitlabtest.Options{Dir: filepath.Join(env.WorkDir, ".coordinator")})
	if err != nil {
		return err
	}
	env.Defer(func() {
		c.Close()
		for _, b := range c.Breaches() {
			env.T().Fatal("breach of the runner API's contract: ", b)
		}
	})
	env.Values["coordinator"] = c
	env.Vars = append(env.Vars, environ...)
	env.Setenv("SERVER", c.URL())
	env.Setenv("REGISTRATION", c.RegistrationToken())
	env.Setenv("USERTOKEN", c.UserToken())
	env.Setenv("GLRT", c.AddRunner(gitlabtest.RunnerSpec{Description: "one", TokenExpires: time.Now().Add(time.Hour)}).Token)
	env.Setenv("GLRT2", c.AddRunner(gitlabtest.RunnerSpec{Description: "two"}).Token)
	env.Setenv("CONFIG_FILE", filepath.Join(env.WorkDir, "config.toml"))
	return nil
}

// patience bounds every wait of a script.
const patience = 2 * time.Minute

// jobResult waits for a job's end.
func jobResult(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	c := coordinator(ts)
	jobs := c.Jobs()
	if n < 1 || n > len(jobs) {
		ts.Fatalf("there are %d jobs", len(jobs))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	j, err := c.Wait(ctx, jobs[n-1].ID)
	ts.Check(err)
	log, err := c.Trace(j.ID)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("job"+args[0]+".log"), log, 0o600))
	if j.Status != args[1] {
		ts.Fatalf("job %d is %s (%s), want %s:\n%s", n, j.Status, j.Reason, args[1], log)
	}
}

// sendSignal sends signals to the process that a runner's log names.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	found := regexp.MustCompile(`Runner is ready.* pid=(\d+)`).FindSubmatch(text)
	if found == nil {
		ts.Fatalf("%s names no pid", args[1])
	}
	pid, err := strconv.Atoi(string(found[1]))
	ts.Check(err)
	for name := range strings.SplitSeq(args[0], ",") { // with nothing in between
		ts.Check(syscall.Kill(pid, unix.SignalNum("SIG"+name)))
	}
}

// until polls a file, which nobody announces the changes of.
func until(ts *testscript.TestScript, _ bool, args []string) {
	pattern, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	for deadline := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		text, err := os.ReadFile(ts.MkAbs(args[1]))
		if err == nil && pattern.Match(text) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s does not come to match %s:\n%s", args[1], args[0], text)
		}
	}
}

func coordinator(ts *testscript.TestScript) *gitlabtest.Coordinator {
	c, ok := ts.Value("coordinator").(*gitlabtest.Coordinator)
	if !ok {
		ts.Fatalf("no coordinator")
	}
	return c
}

// writeRunners writes one line a runner.
func writeRunners(ts *testscript.TestScript, _ bool, args []string) {
	var b strings.Builder
	for _, r := range coordinator(ts).Runners() {
		fmt.Fprintf(&b, "%s tags=%s tagged_only=%t protected=%t locked=%t paused=%t timeout=%s managers=%d executor=%s\n",
			r.Description, strings.Join(r.Tags, ","), r.TaggedOnly, r.ProtectedOnly, r.Locked, r.Paused, r.MaximumTimeout,
			len(r.Managers), r.Info.Executor)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(b.String()), 0o600))
}

// hideTokens makes a configuration comparable.
func hideTokens(ts *testscript.TestScript, _ bool, args []string) {
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	var out []string
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, " = ")
		switch strings.TrimSpace(key) {
		case "token":
			if ok {
				word := "TOKEN"
				for _, name := range []string{"GLRT", "GLRT2"} {
					if strings.TrimSpace(value) == strconv.Quote(ts.Getenv(name)) {
						word = name
					}
				}
				line = key + " = " + word + "\n"
			}
		case "token_obtained_at", "token_expires_at":
			line = key + " = DATE\n"
		case "id":
			line = key + " = ID\n"
		case "url":
			line = key + " = " + strings.ReplaceAll(value, ts.Getenv("SERVER"), "SERVER")
		}
		out = append(out, line)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(strings.Join(out, "")), 0o600))
}
