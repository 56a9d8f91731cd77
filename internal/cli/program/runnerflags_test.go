package program

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"gitlab.com/skerry/skerry/internal/config"
)

func sample(s *config.Setting) string {
	switch s.Type() {
	case "bool", "true|false":
		return "true"
	case "int", "number", "list":
		return "3"
	case "duration":
		return "4m"
	case "key:value":
		if s.Key == "feature_flags" {
			return "FF_X:true"
		}
		return "5:6"
	default:
		return "text"
	}
}

// TestVariablesDoWhatFlagsDo sets every flag of a runner key once by flag and once by variable.
func TestVariablesDoWhatFlagsDo(t *testing.T) {
	t.Parallel()
	none := func(string) (string, bool) { return "", false }
	unused := AddRunnerFlags(pflag.NewFlagSet("register", pflag.ContinueOnError))
	names := map[string]string{}
	for _, s := range config.Settings(&config.Runner{}) {
		if s.Env == "" {
			continue
		}
		if other, twice := names[s.Env]; twice {
			t.Errorf("$%s is that of --%s and of --%s", s.Env, other, s.Flag)
		}
		names[s.Env] = s.Flag
		var byFlag, byEnv config.Runner
		set := pflag.NewFlagSet("register", pflag.ContinueOnError)
		flags := AddRunnerFlags(set)
		if err := set.Parse([]string{"--" + s.Flag + "=" + sample(s)}); err != nil {
			t.Fatal(err)
		}
		if err := flags.Apply(&byFlag, none); err != nil {
			t.Fatal(err)
		}
		env := func(key string) (string, bool) { return sample(s), key == s.Env }
		if err := unused.Apply(&byEnv, env); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(byFlag, byEnv) {
			t.Errorf("--%s and $%s differ: %+v, %+v", s.Flag, s.Env, byFlag, byEnv)
		}
		if reflect.ValueOf(byFlag).IsZero() {
			t.Errorf("--%s does nothing", s.Flag)
		}
	}
	if len(names) < 250 {
		t.Errorf("only %d variables", len(names))
	}
}

func TestFlagsWinOverVariables(t *testing.T) {
	t.Parallel()
	set := pflag.NewFlagSet("register", pflag.ContinueOnError)
	flags := AddRunnerFlags(set)
	if err := set.Parse([]string{"--env", "A=flag", "--limit", "1"}); err != nil {
		t.Fatal(err)
	}
	r := config.Runner{Environment: []string{"A=template"}, Name: "template", Shell: "bash"}
	err := flags.Apply(&r, func(key string) (string, bool) {
		v, ok := map[string]string{"RUNNER_ENV": "A=variable", "RUNNER_LIMIT": "9", "RUNNER_NAME": "variable"}[key]
		return v, ok
	})
	if err != nil {
		t.Fatal(err)
	}
	want := config.Runner{Environment: []string{"A=flag"}, Name: "variable", Shell: "bash", Limit: 1}
	if diff := cmp.Diff(want, r, cmpopts.IgnoreUnexported(config.Runner{})); diff != "" {
		t.Error(diff)
	}
}
