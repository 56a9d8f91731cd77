package nixopt

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
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

// SecretKey reads a secret key as `nix-store --generate-binary-cache-key` writes it: NAME:BASE64 of a seed and the public key.
// Its errors say nothing of the secret.
func SecretKey(text string) (name string, seed []byte, err error) {
	name, secret, ok := strings.Cut(strings.TrimSpace(text), ":")
	if !ok || name == "" || strings.ContainsAny(name, " \t\r\n") {
		return "", nil, errors.New("holds no secret key of the form NAME:BASE64; make one with `nix-store --generate-binary-cache-key NAME FILE FILE.pub`")
	}
	raw, err := base64.StdEncoding.DecodeString(secret)
	switch {
	case err == nil && len(raw) == ed25519.PublicKeySize:
		return "", nil, fmt.Errorf("holds the public key %s: the secret one of the pair is needed", name)
	case err != nil || len(raw) != ed25519.PrivateKeySize:
		return "", nil, fmt.Errorf("holds no secret key: what follows the name %s is not the base 64 of %d bytes", name, ed25519.PrivateKeySize)
	}
	seed = raw[:ed25519.SeedSize]
	if !bytes.Equal(ed25519.NewKeyFromSeed(seed), raw) {
		return "", nil, fmt.Errorf("holds a secret key %s whose halves do not belong together", name)
	}
	return name, seed, nil
}

// redacted leaves out what may be a password in an address that cannot be parsed.
func redacted(address string) string {
	if i := strings.LastIndexByte(address, '@'); i >= 0 {
		return "...@" + address[i+1:]
	}
	return address
}
