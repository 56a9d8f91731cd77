package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gitlab.com/skerry/skerry/internal/cli"
)

func command(t *testing.T, name string) *cobra.Command {
	t.Helper()
	p := cli.NewProgram([]string{"skerry"}, cli.Streams{In: &bytes.Buffer{}, Out: &bytes.Buffer{}, Err: &bytes.Buffer{}}, cli.Build{})
	c, _, err := cli.New(p).Find([]string{name})
	if err != nil || c.Name() != name {
		t.Fatalf("no command %s: %v", name, err)
	}
	return c
}

// TestRegisterHasEveryFlagOfGitLabRunner compares with the flags of GitLab Runner 19.4: a line for
// each with its names, whether it stands without a value, and its environment variable.
func TestRegisterHasEveryFlagOfGitLabRunner(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("testdata/register-flags.txt")
	if err != nil {
		t.Fatal(err)
	}
	flags := command(t, "register").Flags()
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) < 350 {
		t.Fatalf("only %d lines", len(lines))
	}
	for _, line := range lines {
		words := strings.Fields(line)
		if len(words) != 3 {
			t.Fatalf("line %q", line)
		}
		documented := false
		for name := range strings.SplitSeq(words[0], ",") {
			flag := lookup(flags, name)
			if flag == nil {
				t.Errorf("no flag %s", name)
				continue
			}
			if alone := flag.NoOptDefVal != ""; alone != (words[1] == "bool") {
				t.Errorf("%s: stands alone: %t, in GitLab Runner: %s", name, alone, words[1])
			}
			documented = documented || strings.Contains(flag.Usage, "[$"+words[2]+"]")
		}
		if !documented && words[2] != "-" {
			t.Errorf("%s: $%s is not documented", words[0], words[2])
		}
	}
}

func lookup(flags *pflag.FlagSet, name string) *pflag.Flag {
	if len(name) == 1 {
		return flags.ShorthandLookup(name)
	}
	return flags.Lookup(name)
}
