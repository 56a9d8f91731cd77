package host

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/executor/container/nestedneeds"
)

// Wanted is how many subordinate ids an account should have: images have files of the users 0 to 65535, and engines of jobs have
// these users.
const Wanted = nestedneeds.IDs

const (
	firstID = 100000     // useradd(8), SUB_UID_MIN in login.defs
	lastID  = 1<<32 - 16 // ids at the very end have a meaning of their own
)

// idRange is a line of /etc/subuid or /etc/subgid (subuid(5)).
type idRange struct {
	owner       string
	first, past uint64
}

// SubUID checks an account's ranges in /etc/subuid. nested: jobs have engines of their own, which do not come up with fewer ids
// than Wanted.
func SubUID(m Machine, a Account, nested bool) finding.Check { return subIDs(m, a, "subuid", nested) }

// SubGID checks an account's ranges in /etc/subgid.
func SubGID(m Machine, a Account, nested bool) finding.Check { return subIDs(m, a, "subgid", nested) }

func subIDs(m Machine, a Account, name string, nested bool) finding.Check {
	return finding.Check{Name: name, About: "user " + a.Name, Look: func(context.Context) finding.Result {
		for _, l := range m.lines("/etc/nsswitch.conf") {
			if key, from, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == "subid" && strings.TrimSpace(from) != "files" {
				return finding.Skip("ranges come from %s (/etc/nsswitch.conf), not from /etc/%s", strings.TrimSpace(from), name)
			}
		}
		r := judgeRanges(m, a, name, m.ranges("/etc/"+name))
		if nested && r.few {
			r.Severity, r.Why = finding.Failure, "the engines that jobs get (nested) do not come up with fewer"
		}
		return r.Result
	}}
}

// ranges reads those lines of a file that can be understood.
func (m Machine) ranges(path string) (all []idRange) {
	for _, l := range m.lines(path) {
		f := strings.Split(strings.TrimSpace(l), ":")
		if len(f) != 3 {
			continue
		}
		first, err := strconv.ParseUint(f[1], 10, 32)
		count, countErr := strconv.ParseUint(f[2], 10, 32)
		if err == nil && countErr == nil && count > 0 {
			all = append(all, idRange{owner: f[0], first: first, past: first + count})
		}
	}
	return all
}

// judged is a result, with what it was for.
type judged struct {
	finding.Result

	few bool // there are ids, and too few
}

func judgeRanges(m Machine, a Account, name string, all []idRange) judged {
	var own []idRange
	var total uint64
	mine := func(r idRange) bool { return r.owner == a.Name || r.owner == strconv.Itoa(a.UID) }
	next := uint64(firstID)
	for _, r := range all {
		if mine(r) {
			own = append(own, r)
			total += r.past - r.first
		}
		next = max(next, r.past)
	}
	bad := judged{Result: finding.Result{Mend: renew(m, a, name, next, nil)}}
	switch {
	case m.NixOS():
		bad.Mend, bad.Advice = nil, fmt.Sprintf("users.users.%s.autoSubUidGidRange = true; in the machine's configuration, then nixos-rebuild switch", a.Name)
	case bad.Mend == nil:
		bad.Advice = fmt.Sprintf("give user %s a range of %d free ids in /etc/%s", a.Name, Wanted, name)
	}
	switch {
	case total == 0:
		bad.Severity = finding.Failure
		bad.What = fmt.Sprintf("user %s has no range in /etc/%s", a.Name, name)
		bad.Why = "a rootless container has a single id then, and images with files of several users cannot be unpacked"
		return bad
	case total < Wanted:
		bad.Severity, bad.few = finding.Warning, true
		bad.What = fmt.Sprintf("user %s has %d ids in /etc/%s, fewer than %d", a.Name, total, name, Wanted)
		bad.Why = "images with files of an id that is not there, nobody (65534) for example, cannot be unpacked"
		return bad
	}
	for _, r := range own {
		for _, o := range all {
			if !mine(o) && o.first < r.past && r.first < o.past {
				bad.Severity, bad.What = finding.Warning, fmt.Sprintf("users %s and %s share ids in /etc/%s", a.Name, o.owner, name)
				bad.Why = "what runs in containers of the one may read, change and end what belongs to those of the other"
				if m.NixOS() {
					return bad
				}
				bad.Mend, bad.Loses = renew(m, a, name, next, own), m.ofOldIDs(a)
				if bad.Mend == nil {
					bad.Loses = ""
					bad.Advice = fmt.Sprintf("give user %s a range in /etc/%s that is nobody else's", a.Name, name)
				}
				return bad
			}
		}
	}
	return judged{Result: finding.OK("user %s has %d ids", a.Name, total)}
}

// renew are the commands that give an account a new range from first in place of old ones. nil: none is free.
func renew(m Machine, a Account, name string, first uint64, old []idRange) (commands []finding.Command) {
	switch {
	case first+Wanted > lastID, m.Find("usermod") == "" && len(old) > 0:
		return nil
	case m.Find("usermod") == "": // as in Alpine
		return append([]finding.Command{m.Append("/etc/"+name, fmt.Sprintf("%s:%d:%d", a.Name, first, Wanted))}, migrate(m, a)...)
	}
	for _, r := range old {
		commands = append(commands, m.AsRoot("usermod", "--del-"+name+"s", fmt.Sprintf("%d-%d", r.first, r.past-1), a.Name))
	}
	commands = append(commands, m.AsRoot("usermod", "--add-"+name+"s", fmt.Sprintf("%d-%d", first, first+Wanted-1), a.Name))
	return append(commands, migrate(m, a)...)
}

// ofOldIDs is what an account's engines have kept whose files belong to ids that it has no more with a new range; empty: nothing.
func (m Machine) ofOldIDs(a Account) string {
	if m.has(a.Home+"/.local/share/containers") || m.has(a.Home+"/.local/share/docker") {
		return "the images, containers and volumes of user " + a.Name + "'s engine, whose files keep the old ids"
	}
	return ""
}

// migrate has Podman, whose pause process has the old ids, take new ones, where the account has used it.
func migrate(m Machine, a Account) []finding.Command {
	if m.Find("podman") == "" || !m.has(a.Home+"/.local/share/containers") {
		return nil
	}
	return []finding.Command{m.As(a, "podman", "system", "migrate")}
}
