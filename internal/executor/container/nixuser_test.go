package container_test

import (
	"cmp"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
	"gitlab.com/skerry/skerry/internal/nixstore/domain"
)

// program is a line that adds a package with a program to the store, which says hello, and sets p to its path.
const program = `d=$(mktemp -d) && mkdir -p $d/greeting/bin && printf '#!/bin/sh\necho hello\n' > $d/greeting/bin/greet && chmod +x $d/greeting/bin/greet && p=$(nix-store --add $d/greeting)`

// develop is a line that says hello in the environment of a flake's derivation, where there is a static bash for that.
const develop = `test -x /usr/bin/bash-static || { echo hello; exit; }; export NIX_CONFIG="flake-registry ="; cd $(mktemp -d) && mkdir -p b/bin && cp /usr/bin/bash-static b/bin/bash && ` +
	`printf %s '{ outputs = { self }: { packages.x86_64-linux.default = derivation { name = "flake"; outputs = [ "out" ]; system = "x86_64-linux"; ` +
	`builder = "${./b}/bin/bash"; args = [ "-c" "echo > $out" ]; HELLO = "hello"; }; }; }' > flake.nix && ` +
	`nix --extra-experimental-features "nix-command flakes" develop --offline path:$PWD -c bash -c 'echo $HELLO'`

// TestNixUsers has root and other users, with and without a name, install into their profiles.
func TestNixUsers(t *testing.T) {
	t.Parallel()
	enginetest.NotRaced(t)
	enginetest.NixBases(t)
	enginetest.Each(t, func(t *testing.T, e enginetest.Engine) {
		e.Load(t, enginetest.Image{Name: busybox})
		b := nixBench(t, e, enginetest.NixNew, domain.Runner)
		images := map[string]string{"old": e.NixImage(t, enginetest.NixOld), "new": e.NixImage(t, enginetest.NixNew), "path": ""}
		for name, image := range images {
			for _, user := range []string{"0", "1000", "nobody"} {
				if image == "" && user == "nobody" {
					continue // the image has no such user
				}
				t.Run(name+" as "+user, func(t *testing.T) {
					t.Parallel()
					testNixUser(t, b, image, user)
				})
			}
		}
	})
}

func testNixUser(t *testing.T, b *bench, image, user string) {
	t.Helper()
	o := b.o
	nix := *o.Nix
	nix.Path = image == ""
	o.Nix = &nix
	for _, lines := range []map[string]string{ // of a job each, as the two profiles do not go together
		{
			"nix-env":     program + ` && nix-env -i $p && nix-env -q && ~/.nix-profile/bin/greet`,
			"home":        `cd && touch mine && test -O . && echo hello`,
			"nix develop": develop,
		},
		{"nix profile": program + ` && nix --extra-experimental-features "nix-command flakes" profile install $p && ~/.nix-profile/bin/greet`},
	} {
		j := theJob(cmp.Or(image, busybox))
		j.Image.User = user
		r := b.prepare(t, o, j)
		r.script(executor.Helper, "true")
		for what, line := range lines {
			if got := r.script(executor.Build, "{ id -u; echo $HOME $USER; "+line+"; } 2>&1"); !strings.HasSuffix(got, "hello") {
				t.Errorf("%s: %s", what, got)
			}
		}
	}
}
