package nixopt

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// Address checks the address of a binary cache of one of the kinds in schemes.
func Address(s string, schemes ...string) error {
	u, err := url.Parse(s)
	if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" && u.Path == "" || strings.ContainsAny(s, " \t\r\n#") {
		return fmt.Errorf("must be the address of a binary cache that begins with %s://, is %q", strings.Join(schemes, "://, "), redacted(s))
	}
	return nil
}

// PublicKey checks a key as `nix-store --generate-binary-cache-key` writes it: NAME:BASE64 of 32 bytes.
func PublicKey(s string) error {
	name, text, ok := strings.Cut(s, ":")
	const length = 32 // of an Ed25519 key
	raw, err := base64.StdEncoding.DecodeString(text)
	switch {
	case len(raw) == 2*length && err == nil:
		return fmt.Errorf("%q is a secret key: put its public one here, and replace the key, which others may have read", name)
	case !ok || name == "" || err != nil || len(raw) != length || strings.ContainsAny(s, " \t\r\n"):
		return fmt.Errorf("must be a public key such as \"cache.example.org-1:BASE64\", is %q", s)
	}
	return nil
}

// redacted leaves out what may be a password in an address that cannot be parsed.
func redacted(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "...@" + address[i+1:]
	}
	return address
}
