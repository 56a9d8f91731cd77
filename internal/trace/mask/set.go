// Package mask keeps secrets out of logs. A Set is what must not be seen, a Filter applies it to one
// stream of bytes.
//
// # What is masked
//
// Behaviour follows GitLab Runner's (common/buildlogger), stage by stage:
//
//  1. values: every occurrence of a secret becomes [MASKED]. Like GitLab Runner, values are taken as
//     they are, without surrounding white space and in no other encoding; there is no least length. A
//     value of several lines is also found with "\r\n" for its line ends, as terminals write it.
//     Occurrences that overlap become one [MASKED] (GitLab Runner leaves the rest of the second one).
//  2. URL parameters: the value of ?private_token=, &x-amz-signature= and the like, in any case, up to
//     the next ?, &, space or control character, becomes [MASKED], also when it is empty. Only ASCII
//     ends a value.
//  3. tokens: what follows a prefix such as glpat- in letters, digits and "-._=" becomes [MASKED]. A
//     masked value in the middle of a token or a parameter is part of it.
//
// # Streaming
//
// The result is a function of the bytes alone, not of how they were split into writes. What may be
// the beginning of something to mask is held back until a later write or End decides it; that is
// always the beginning of a known pattern, so a State names it by length and holds no secret.
// Each stream is masked by itself: a secret of which one half went to standard output and the other
// to standard error is not found (nor does GitLab Runner find it).
package mask

import (
	"hash/crc32"
	"slices"
	"strings"
)

// Mask replaces what must not be seen.
const Mask = "[MASKED]"

// MainPrefix is the token prefix that is always masked.
const MainPrefix = "glpat-"

// DefaultPrefixes are the prefixes of GitLab's own tokens beside MainPrefix.
// Source: docs.gitlab.com/security/tokens, GitLab Runner's tokensanitizer.
func DefaultPrefixes() []string {
	return []string{
		"gloas-", "gldt-", "glrt-", "glcbt-", "glrtr-", "glptt-", "glft-", "glimt-", "glagent-",
		"glsoat-", "glffct-", "_gitlab_session=", "gltok-",
	}
}

// URLKeys are the URL parameters whose values are masked, in lower case.
func URLKeys() []string {
	return []string{
		"private_token", "authenticity_token", "rss_token", "x-amz-signature", "x-amz-credential", "x-amz-security-token",
	}
}

// Set is what must be masked. It is immutable and may be used by any number of Filters at once.
type Set struct {
	values  *automaton
	tokens  *automaton
	gate    *gate    // of everything
	keys    []string // "private_token=" …
	longest int      // of keys
	id      uint32
}

// New makes a Set of the values of secrets and of token prefixes beyond MainPrefix; empty ones are
// ignored.
func New(secrets, prefixes []string) *Set {
	s := &Set{values: newAutomaton(Values(secrets)), tokens: newAutomaton(Prefixes(prefixes))}
	for _, k := range URLKeys() {
		s.keys = append(s.keys, k+"=")
		s.longest = max(s.longest, len(k)+2)
	}
	var keys []string
	for _, k := range s.keys {
		keys = append(keys, "?"+k, "&"+k)
	}
	s.gate = newGate(slices.Concat(Values(secrets), Prefixes(prefixes)), keys)
	sum := crc32.NewIEEE()
	for _, a := range []*automaton{s.values, s.tokens} {
		if a != nil {
			_, _ = sum.Write([]byte(strings.Join(a.patterns, "\x00") + "\x00"))
		}
		_, _ = sum.Write([]byte{1})
	}
	s.id = sum.Sum32()
	return s
}

// ID names the Set's content: a State of one Set means nothing to a Set with another ID.
func (s *Set) ID() uint32 { return s.id }

// Values is the list of texts that New looks for on account of secrets, sorted.
func Values(secrets []string) []string {
	var all []string
	for _, v := range secrets {
		v = strings.TrimSpace(v)
		unix := strings.ReplaceAll(v, "\r\n", "\n")
		all = append(all, v, unix, strings.ReplaceAll(unix, "\n", "\r\n"))
	}
	return distinct(all)
}

// Prefixes is the list of token prefixes that New looks for: MainPrefix and more, sorted.
func Prefixes(more []string) []string {
	all := []string{MainPrefix}
	for _, p := range more {
		all = append(all, strings.TrimSpace(p))
	}
	return distinct(all)
}

func distinct(all []string) []string {
	slices.Sort(all)
	all = slices.Compact(all)
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// TokenByte reports whether b may be part of a token, after its prefix.
func TokenByte(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' ||
		b == '-' || b == '.' || b == '_' || b == '='
}

// ValueEnd reports whether b ends the value of a URL parameter.
func ValueEnd(b byte) bool { return b == '?' || b == '&' || b <= ' ' || b == 0x7f }
