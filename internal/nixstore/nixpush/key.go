package nixpush

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"os"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

// Key signs what is pushed. It shows nothing of itself in logs.
type Key struct {
	name   string
	secret ed25519.PrivateKey
}

// ReadKey reads a secret key as `nix-store --generate-binary-cache-key` and `nix key generate-secret` write it.
func ReadKey(file string) (Key, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Key{}, fmt.Errorf("read the key that what is pushed is signed with (push_key_file): %w", err)
	}
	k, err := ParseKey(string(raw))
	if err != nil {
		return Key{}, fmt.Errorf("the key that what is pushed is signed with (push_key_file), %s, %w", file, err)
	}
	return k, nil
}

// ParseKey reads a secret key, NAME:BASE64. Its errors read on from what has the key, and say nothing of it.
func ParseKey(text string) (Key, error) {
	name, seed, err := nixopt.SecretKey(text)
	if err != nil {
		return Key{}, err
	}
	return Key{name: name, secret: ed25519.NewKeyFromSeed(seed)}, nil
}

// Public is the key that clients have to trust, NAME:BASE64.
func (k Key) Public() string {
	public, _ := k.secret.Public().(ed25519.PublicKey) // it is
	return k.name + ":" + base64.StdEncoding.EncodeToString(public)
}

// String and GoString are Public.
func (k Key) String() string { return k.Public() }

// GoString implements fmt.GoStringer.
func (k Key) GoString() string { return k.Public() }

// sign returns a signature as it stands in a narinfo.
func (k Key) sign(fingerprint string) string {
	return k.name + ":" + base64.StdEncoding.EncodeToString(ed25519.Sign(k.secret, []byte(fingerprint)))
}
