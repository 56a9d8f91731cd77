package daemon

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"

	"gitlab.com/skerry/skerry/internal/config"
)

// identities gives runner entries their keys. A key is what slots, numbers and journaled jobs belong to,
// so it must stay when a token is replaced: it is made of the runner's id in GitLab where the entry has
// one, which a new token does not change, else of the token, and then follows a rotation by this process.
// The map holds the keys of all tokens that were seen.
type identities map[string]string

// assign returns the keys of entries, in their order. Entries of one runner in GitLab are told apart by
// their order.
func (m identities) assign(entries []*config.Runner) []string {
	keys := make([]string, len(entries))
	used := map[string]int{}
	for i, r := range entries {
		token := digest(r.URL, "token", r.Token)
		key := token
		if r.ID != 0 {
			key = digest(r.URL, "id", strconv.FormatInt(r.ID, 10))
		} else if known := m[token]; known != "" {
			key = known
		}
		m[token] = key
		used[key]++
		if n := used[key]; n > 1 {
			key = digest(key, strconv.Itoa(n))
		}
		keys[i] = key
	}
	return keys
}

// replaced says that a runner's token is another now.
func (m identities) replaced(r *config.Runner, token string) {
	if key := m[digest(r.URL, "token", r.Token)]; key != "" {
		m[digest(r.URL, "token", token)] = key
	}
}

// keyOf is the key of the first entry that has, or had, this token; empty when none is known.
func (m identities) keyOf(url, token string) string { return m[digest(url, "token", token)] }

// digest shortens words to a key. It is logged, so nothing in it can be turned back into a token.
func digest(words ...string) string {
	h := sha256.New()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:6])
}
