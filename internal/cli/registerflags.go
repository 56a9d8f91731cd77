package cli

import (
	"fmt"
	"os"
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

// runnerFlags are register's flags for the keys of a [[runners]] entry, made from the keys themselves.
type runnerFlags struct {
	settings []*config.Setting
	values   map[string]*given // by key
}

func addRunnerFlags(flags *pflag.FlagSet) *runnerFlags {
	f := &runnerFlags{values: map[string]*given{}}
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

// apply sets on r what flags say, or environment variables where no flag does.
func (f *runnerFlags) apply(r *config.Runner, env func(string) (string, bool)) error {
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

// serverOptions are what register tells GitLab about a runner. With a runner authentication token
// they belong to the server already.
type serverOptions struct {
	tagList         string
	runUntagged     bool
	locked          bool
	accessLevel     string
	maximumTimeout  int
	paused          bool
	maintenanceNote string
}

// registerOptions is a command line of register.
type registerOptions struct {
	path              string
	template          string
	nonInteractive    bool
	leaveRunner       bool
	registrationToken string
	server            serverOptions
	runner            *runnerFlags
}

// ownFlags adds the flags that are no keys of the file, with their variables' names.
func (o *registerOptions) ownFlags(flags *pflag.FlagSet) map[string]string {
	flags.StringVar(&o.template, "template-config", "", "a file with one [[runners]] entry to start from")
	flags.BoolVarP(&o.nonInteractive, "non-interactive", "n", false, "ask nothing")
	flags.BoolVar(&o.leaveRunner, "leave-runner", false, "keep the runner in GitLab when the registration fails here")
	flags.StringVarP(&o.registrationToken, "registration-token", "r", "", "registration token; GitLab is going to drop these, use --token")
	flags.StringVar(&o.server.tagList, "tag-list", "", "tags, separated by commas")
	flags.BoolVar(&o.server.runUntagged, "run-untagged", false, "take jobs without tags, too; the default when there are no tags")
	flags.BoolVar(&o.server.locked, "locked", true, "keep the runner to the project")
	flags.StringVar(&o.server.accessLevel, "access-level", "", "not_protected, or ref_protected for jobs of protected refs only")
	flags.IntVar(&o.server.maximumTimeout, "maximum-timeout", 0, "longest time of a job in seconds")
	flags.BoolVar(&o.server.paused, "paused", false, "take no jobs until somebody resumes the runner in GitLab")
	flags.StringVar(&o.server.maintenanceNote, "maintenance-note", "", "note for other administrators")
	return map[string]string{
		"template-config": "TEMPLATE_CONFIG_FILE", "non-interactive": "REGISTER_NON_INTERACTIVE",
		"leave-runner": "REGISTER_LEAVE_RUNNER", "registration-token": "REGISTRATION_TOKEN", "tag-list": "RUNNER_TAG_LIST",
		"run-untagged": "REGISTER_RUN_UNTAGGED", "locked": "REGISTER_LOCKED", "access-level": "REGISTER_ACCESS_LEVEL",
		"maximum-timeout": "REGISTER_MAXIMUM_TIMEOUT", "paused": "REGISTER_PAUSED", "maintenance-note": "REGISTER_MAINTENANCE_NOTE",
	}
}

// usage lists flags with their help on a line of its own: the names are too long for columns.
func usage(cmd *cobra.Command) error {
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

// fromEnv sets flags that were not given from their variables and notes the variables in their help.
func fromEnv(cmd *cobra.Command, variables map[string]string, env func(string) (string, bool)) error {
	for name, variable := range variables {
		flag := cmd.Flags().Lookup(name)
		if v, ok := env(variable); ok && v != "" && !flag.Changed {
			if err := cmd.Flags().Set(name, v); err != nil {
				return fmt.Errorf("$%s: %w", variable, err)
			}
		}
	}
	return nil
}

// noteEnv adds the variables' names to the help texts.
func noteEnv(flags *pflag.FlagSet, variables map[string]string) {
	for name, variable := range variables {
		flags.Lookup(name).Usage += " [$" + variable + "]"
	}
}

// newRunner makes the runner that is to be registered: template, then variables, then flags.
func (o *registerOptions) newRunner(p *Program) (*config.Runner, error) {
	r := &config.Runner{}
	if o.template != "" {
		p.Logger.Info("starting from a template", "file", o.template)
		var warnings []config.Problem
		var err error
		if r, warnings, err = config.LoadTemplate(o.template); err != nil {
			return nil, err
		}
		for _, w := range warnings {
			p.Logger.Warn(w.Error())
		}
	}
	if err := o.runner.apply(r, p.Env); err != nil {
		return nil, err
	}
	if r.Name == "" {
		r.Name, _ = os.Hostname()
	}
	r.URL = strings.TrimSpace(r.URL)
	r.Token = strings.TrimSpace(r.Token)
	return r, nil
}
