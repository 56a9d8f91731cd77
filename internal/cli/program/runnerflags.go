package program

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab.com/skerry/skerry/internal/config"
)

// given is a flag's values in the order of the command line. They are applied to the runner only
// after the template, whatever stands first.
type given struct {
	setting *config.Setting
	texts   []string
}

// Set checks a value on a runner that is thrown away.
func (g *given) Set(text string) error {
	if err := g.setting.Set(text); err != nil {
		return err
	}
	g.texts = append(g.texts, text)
	return nil
}

// String returns nothing: there is no default to show.
func (g *given) String() string { return "" }

// Type names the value in help texts.
func (g *given) Type() string { return g.setting.Type() }

// RunnerFlags are flags for the keys of a [[runners]] entry, made from the keys themselves.
type RunnerFlags struct {
	settings []*config.Setting
	values   map[string]*given // by key
}

// AddRunnerFlags adds a flag for each key of an entry, with GitLab Runner's names and variables.
func AddRunnerFlags(flags *pflag.FlagSet) *RunnerFlags {
	f := &RunnerFlags{values: map[string]*given{}}
	f.settings = config.Settings(&config.Runner{})
	for _, s := range f.settings {
		g := &given{setting: s}
		f.values[s.Key] = g
		help := s.Help
		if s.Env != "" {
			help += " [$" + s.Env + "]"
		}
		short := ""
		if len(s.Short) == 1 {
			short = s.Short
		}
		add := func(name, short string) *pflag.Flag {
			flag := flags.VarPF(g, name, short, help)
			if s.IsBool() {
				flag.NoOptDefVal = "true"
			}
			return flag
		}
		add(s.Flag, short)
		if len(s.Short) > 1 {
			add(s.Short, "").Hidden = true
		}
	}
	return f
}

// Apply sets on r what flags say, or environment variables where no flag does.
func (f *RunnerFlags) Apply(r *config.Runner, env func(string) (string, bool)) error {
	for _, s := range config.Settings(r) {
		texts := f.values[s.Key].texts
		source := "--" + s.Flag
		if len(texts) == 0 && s.Env != "" {
			if v, ok := env(s.Env); ok && v != "" {
				texts, source = []string{v}, "$"+s.Env
			}
		}
		for _, text := range texts {
			if err := s.Set(text); err != nil {
				return fmt.Errorf("%s: %w", source, err)
			}
		}
	}
	return nil
}

// Usage lists flags with their help on a line of its own: the names are too long for columns.
func Usage(cmd *cobra.Command) error {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "Usage:\n  %s\n\nFlags:\n", cmd.UseLine())
	list := func(flag *pflag.Flag) {
		if flag.Hidden {
			return
		}
		kind, help := pflag.UnquoteUsage(flag)
		short := "    "
		if flag.Shorthand != "" {
			short = "-" + flag.Shorthand + ", "
		}
		fmt.Fprintf(out, "  %s--%s\n        %s\n", short, strings.TrimSpace(flag.Name+" "+kind), help)
	}
	cmd.LocalFlags().VisitAll(list)
	cmd.InheritedFlags().VisitAll(list)
	return nil
}

// Given lists the flags that stand on the command line, as "--name".
func (f *RunnerFlags) Given() []string {
	var out []string
	for _, s := range f.settings {
		if len(f.values[s.Key].texts) > 0 {
			out = append(out, "--"+s.Flag)
		}
	}
	return out
}
