package docs

import (
	"flag"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go/ast"
	"go/parser"
	"go/token"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab.com/skerry/skerry/internal/cli"
	"gitlab.com/skerry/skerry/internal/cli/doctor"
	"gitlab.com/skerry/skerry/internal/config"
)

var update = flag.Bool("update", false, "write what the tests compute into the pages")

// program returns skerry's root command as main makes it.
func program() *cobra.Command {
	root := cli.New(cli.NewProgram([]string{"skerry"}, cli.Streams{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard},
		cli.Build{Version: "1.0.0", Revision: "0"}))
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	return root
}

// section returns the part of a page below a heading, up to the next one of its level.
func section(page, heading string) (string, bool) {
	_, rest, ok := strings.Cut("\n"+page, "\n"+heading+"\n")
	level, _, _ := strings.Cut(heading, " ")
	text, _, _ := strings.Cut(rest, "\n"+level+" ")
	return text, ok
}

const commandsPage = "docs/commands.md"

// TestCommandsAreDocumented wants a heading for each command, under it each of its flags, and help in
// the program itself. Flags that stand for keys of config.toml are described by docs/configuration.md.
func TestCommandsAreDocumented(t *testing.T) {
	t.Parallel()
	page := read(t, commandsPage)
	forKeys := map[string]bool{}
	for _, s := range config.Settings(&config.Runner{}) {
		forKeys[s.Flag], forKeys[s.Short] = true, true
	}
	root := program()
	names := map[string]bool{}
	for _, c := range root.Commands() {
		if c.Hidden || c.Name() == "help" {
			continue
		}
		names[c.Name()] = true
		if c.Short == "" || c.Name() != "version" && c.Long == "" {
			t.Errorf("skerry %s has no help of its own", c.Name())
		}
		text, ok := section(page, "## "+c.Name())
		if !ok {
			t.Errorf("%s has no heading \"## %s\"", commandsPage, c.Name())
			continue
		}
		own := flagsBelow(c)
		own.VisitAll(func(f *pflag.Flag) {
			if f.Name != "help" && !f.Hidden && !forKeys[f.Name] && !strings.Contains(text, "`--"+f.Name) {
				t.Errorf("%s does not describe --%s under %s", commandsPage, f.Name, c.Name())
			}
		})
		flags := regexp.MustCompile("`--([a-z0-9-]+)").FindAllStringSubmatch(text, -1)
		for _, m := range flags {
			if own.Lookup(m[1]) == nil && root.PersistentFlags().Lookup(m[1]) == nil {
				t.Errorf("%s describes --%s under %s, which has no such flag", commandsPage, m[1], c.Name())
			}
		}
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !strings.Contains(page, "`--"+f.Name) {
			t.Errorf("%s does not describe the global flag --%s", commandsPage, f.Name)
		}
	})
	for _, m := range regexp.MustCompile(`(?m)^## ([a-z-]+)$`).FindAllStringSubmatch(page, -1) {
		if !names[m[1]] {
			t.Errorf("%s describes %s, which is no command", commandsPage, m[1])
		}
	}
}

// flagsBelow are the flags of a command and of those below it.
func flagsBelow(c *cobra.Command) *pflag.FlagSet {
	all := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	all.SetNormalizeFunc(c.Flags().GetNormalizeFunc())
	c.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) { all.AddFlag(f) })
	for _, below := range c.Commands() {
		flagsBelow(below).VisitAll(func(f *pflag.Flag) {
			if all.Lookup(f.Name) == nil {
				all.AddFlag(f)
			}
		})
	}
	return all
}

// commandWords are the first words of a command line that may name a command below another one.
func commandWords(rest string) []string {
	var out []string
	for word := range strings.FieldsSeq(rest) {
		if !regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(word) {
			break
		}
		out = append(out, word)
	}
	return out
}

// TestShownCommandsExist looks at every `skerry ...` in the shell examples of all pages.
func TestShownCommandsExist(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?ms)^```(?:sh|console)\n(.*?)^```")
	call := regexp.MustCompile(`(?:^|[ /])skerry ((?:--[a-z-]+ )*)([a-z-]+)((?: .*)?)$`)
	for _, page := range pages(t) {
		for _, m := range block.FindAllStringSubmatch(read(t, page), -1) {
			for line := range strings.Lines(strings.ReplaceAll(m[1], "\\\n", " ")) {
				line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " #")
				words := call.FindStringSubmatch(line)
				if words == nil {
					continue
				}
				c, _, err := program().Find(append([]string{words[2]}, commandWords(words[3])...))
				if top := strings.Fields(c.CommandPath()); err != nil || len(top) < 2 || top[1] != words[2] {
					t.Errorf("%s shows `skerry %s`, which is no command", page, words[2])
					continue
				}
				for _, f := range regexp.MustCompile(` --([a-z0-9-]+)`).FindAllStringSubmatch(words[3], -1) {
					if c.Flags().Lookup(f[1]) == nil && c.InheritedFlags().Lookup(f[1]) == nil {
						t.Errorf("%s shows `skerry %s --%s`, which has no such flag", page, words[2], f[1])
					}
				}
			}
		}
	}
}

// honoured reads the feature flags from package plan: its constants of type Flag.
func honoured(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), root+"/internal/plan/flags.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && strings.HasPrefix(s, "FF_") {
				list = append(list, s)
			}
		}
		return true
	})
	slices.Sort(list)
	return list
}

func TestFeatureFlagsAreDocumented(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, cells := range table(t, read(t, "docs/compatibility.md"), "flags") {
		listed = append(listed, spans(cells[0])...)
	}
	slices.Sort(listed)
	if want := honoured(t); !slices.Equal(listed, want) {
		t.Errorf("docs/compatibility.md lists the honoured feature flags\n%q\nand package plan has\n%q", listed, want)
	}
}

func TestChecksAreDocumented(t *testing.T) {
	t.Parallel()
	var listed []string
	for _, cells := range table(t, read(t, "docs/doctor.md"), "checks") {
		listed = append(listed, spans(cells[0])...)
	}
	if want := doctor.Names(); !slices.Equal(listed, want) {
		t.Errorf("docs/doctor.md lists the checks\n%q\nand package doctor has\n%q", listed, want)
	}
}

// TestMessagesExist looks for the messages of docs/troubleshooting.md in the program: each piece between
// two "…" of a table's first column must stand in the source as it is.
func TestMessagesExist(t *testing.T) {
	t.Parallel()
	source := sourceText(t)
	page := read(t, "docs/troubleshooting.md")
	found := 0
	for _, line := range strings.Split(page, "\n") {
		cell, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if !ok || !strings.HasPrefix(cell, "`") {
			continue
		}
		message, _, _ := strings.Cut(cell[1:], "`")
		for piece := range strings.SplitSeq(message, "…") {
			if piece = strings.Trim(piece, " ()"); len(piece) < 4 {
				continue
			}
			found++
			if !strings.Contains(source, piece) {
				t.Errorf("docs/troubleshooting.md explains %q, which the program never says", piece)
			}
		}
	}
	if found == 0 {
		t.Error("docs/troubleshooting.md explains no message")
	}
}
