package gateway

import (
	"fmt"
	"slices"
	"strings"

	"gitlab.com/skerry/skerry/internal/nixstore/nixwire"
)

// A path's signatures are told to everybody who asks for it, and nobody checks those by keys that are not known: a job
// could make every answer as long as it likes.
const (
	maxSignatures = 32 // of a path
	maxSignature  = 256
)

// fewSignatures leaves out signatures beyond the bounds of what a client says of a path, as nixwire.KeyedInfoShape has it,
// and what follows.
func fewSignatures(info []nixwire.Token) []nixwire.Token {
	at := 7 + int(info[3].Int) //nolint:gosec // at most what has been read
	end := at + 1 + int(info[at].Int)
	kept := slices.Clone(info[:at+1])
	kept[at].Int = 0
	for _, s := range info[at+1 : end] {
		if signatureRefusal(s.Str) == "" && kept[at].Int < maxSignatures {
			kept[at].Int++
			kept = append(kept, s)
		}
	}
	return append(kept, info[end:]...)
}

// signatureRefusal says why no path gets a signature; empty: one may. It stands on a line of its own in what binary caches
// say of a path, where another line would say something else.
func signatureRefusal(s string) string {
	if len(s) > maxSignature {
		return fmt.Sprintf("a signature has at most %d characters, not %d", maxSignature, len(s))
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }); i >= 0 {
		return fmt.Sprintf("a signature is NAME:BASE64, without %q", s[i])
	}
	return ""
}

// signaturesRefusal says why a path does not get the signatures of a request; empty: it may have them.
func (s *session) signaturesRefusal(request []nixwire.Token) (string, error) {
	path, fresh := nixwire.StorePath(request[0].Str), request[2:]
	for _, t := range fresh {
		if why := signatureRefusal(t.Str); why != "" {
			return why, nil
		}
	}
	n := uint64(len(fresh))
	err := s.up.Each(s.v, nixwire.QueryPathInfo, []nixwire.StorePath{path}, s.relay, func(_ nixwire.StorePath, answer []nixwire.Token) {
		if len(answer) > 1 {
			info := answer[1:]
			n += info[6+info[2].Int].Int
		}
	})
	if err == nil && n > maxSignatures {
		return fmt.Sprintf("%s would have %d signatures, and may have %d", path, n, maxSignatures), nil
	}
	return "", err
}
