package nixopt

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Push is a binary cache that is pushed to.
type Push struct {
	Scheme string // "file", "s3", "https" or "http"
	Plain  bool   // archives are not compressed

	Dir string // of file
	URL string // of https and http, without a slash at the end

	// Of s3. Secure is for the endpoint; Region and Endpoint are those of Amazon where nothing is said.
	Bucket, Region, Endpoint, Profile string
	Secure                            bool
}

// ParsePush reads an address as Nix writes it: file:///DIR, https://HOST/PATH, s3://BUCKET?region=…&endpoint=…. Of Nix's
// parameters are known those that say where the cache is, and compression.
func ParsePush(address string) (Push, error) {
	if err := Address(address, "file", "s3", "https", "http"); err != nil {
		return Push{}, err
	}
	u, err := url.Parse(address)
	if err != nil {
		return Push{}, fmt.Errorf("must be an address, is %q", redacted(address))
	}
	if u.User != nil {
		return Push{}, fmt.Errorf("must not hold a user or password, as %q does: others can read the configuration; %s", redacted(address), logins(u.Scheme))
	}
	p := Push{Scheme: u.Scheme}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Push{}, fmt.Errorf("has parameters that cannot be read: %w", err)
	}
	if err := p.parameters(query); err != nil {
		return Push{}, err
	}
	switch u.Scheme {
	case "file":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return Push{}, fmt.Errorf("must name an absolute directory such as file:///srv/cache, is %q", address)
		}
		p.Dir = path.Clean(u.Path)
	case "s3":
		if u.Host == "" || strings.Trim(u.Path, "/") != "" {
			return Push{}, fmt.Errorf("must name a bucket alone, s3://BUCKET?region=…, is %q", address)
		}
		p.Bucket = u.Host
	default:
		u.RawQuery = ""
		p.URL = strings.TrimRight(u.String(), "/")
	}
	return p, nil
}

func logins(scheme string) string {
	if scheme == "s3" {
		return "give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the runner's environment, or in ~/.aws/credentials of its user"
	}
	return "write them into the file that NETRC in the runner's environment names, or ~/.netrc of its user"
}

// parameters takes those of the address.
func (p *Push) parameters(query url.Values) error {
	p.Secure = true
	known := []string{"compression"}
	if p.Scheme == "s3" {
		known = append(known, "region", "endpoint", "scheme", "profile")
	}
	for name := range query {
		switch {
		case name == "secret-key" || name == "secret-keys":
			return errors.New("must not name a key: use push_key_file")
		case !slices.Contains(known, name):
			return fmt.Errorf("has the parameter %q, which is none of %s", name, strings.Join(known, ", "))
		}
	}
	p.Region, p.Endpoint, p.Profile = query.Get("region"), query.Get("endpoint"), query.Get("profile")
	switch c := query.Get("compression"); c {
	case "", "zstd":
	case "none":
		p.Plain = true
	default:
		return fmt.Errorf("has compression=%s: it must be zstd, which is used without it, too, or none", c)
	}
	scheme, endpoint, full := strings.Cut(p.Endpoint, "://")
	if full {
		p.Endpoint = strings.TrimRight(endpoint, "/")
	} else {
		scheme = query.Get("scheme")
	}
	switch scheme {
	case "", "https":
	case "http":
		p.Secure = false
	default:
		return fmt.Errorf("has scheme=%s: it must be https or http", scheme)
	}
	return nil
}
