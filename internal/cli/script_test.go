package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"gitlab.com/skerry/skerry/internal/cli"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
)

func TestMain(m *testing.M) {
	program := func() { os.Exit(cli.Main(cli.Build{Version: "1.2.3", Revision: "abcdef12"})) }
	testscript.Main(m, map[string]func(){"skerry": program, "gitlab-runner": program})
}

// TestScripts drives the real commands against a coordinator of their own. Beside the usual
// variables a script has SERVER, REGISTRATION (its registration token) and GLRT, GLRT2 (the tokens
// of two runners made there), and the commands
//
//	runners FILE          writes what the coordinator knows of its runners
//	forget TOKEN          deletes a runner there
//	fault ENDPOINT STATUS answers the next call so
//	mode FILE OCTAL       checks a file's mode
//	tokens FILE           replaces random parts of FILE (tokens, dates, ids) by words
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(env *testscript.Env) error {
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
			env.Setenv("SERVER", c.URL())
			env.Setenv("REGISTRATION", c.RegistrationToken())
			env.Setenv("GLRT", c.AddRunner(gitlabtest.RunnerSpec{Description: "one", TokenExpires: time.Now().Add(time.Hour)}).Token)
			env.Setenv("GLRT2", c.AddRunner(gitlabtest.RunnerSpec{Description: "two"}).Token)
			env.Setenv("CONFIG_FILE", filepath.Join(env.WorkDir, "config.toml"))
			return nil
		},
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
		},
	})
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
