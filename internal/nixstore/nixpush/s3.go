package nixpush

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

// bucket is a cache in a bucket of S3, or of what speaks its protocol.
type bucket struct {
	name     string
	client   *minio.Client
	patience time.Duration
}

// What Nix takes where the address says nothing. Source: Nix, src/libstore/s3-binary-cache-store.cc.
const (
	defaultRegion = "us-east-1"
	amazon        = "s3.amazonaws.com"
)

// tries is how often a request is made before its failure is one: the whole push is tried again later.
const tries = 3

// openBucket takes logins as Amazon's own programs do: the profile that the address names, or else from the environment, the
// user's files, or the machine.
func openBucket(p nixopt.Push) (Cache, error) {
	providers := []credentials.Provider{&credentials.FileAWSCredentials{Profile: p.Profile}}
	if p.Profile == "" {
		providers = []credentials.Provider{&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{}}
	}
	o := &minio.Options{Creds: credentials.NewChainCredentials(providers), Secure: p.Secure, Region: p.Region, MaxRetries: tries, BucketLookup: minio.BucketLookupPath}
	if o.Region == "" {
		o.Region = defaultRegion
	}
	endpoint := p.Endpoint
	if endpoint == "" {
		endpoint, o.BucketLookup = amazon, minio.BucketLookupAuto
	}
	t, err := minio.DefaultTransport(p.Secure)
	if err != nil {
		return nil, fmt.Errorf("the binary cache s3://%s: %w", p.Bucket, err)
	}
	t.ResponseHeaderTimeout = 0 // that is watched for
	o.Transport = watched{t}
	c, err := minio.New(endpoint, o)
	if err != nil {
		return nil, fmt.Errorf("the binary cache s3://%s: %w", p.Bucket, err)
	}
	return &bucket{name: p.Bucket, client: c, patience: usualPatience}, nil
}

func (b *bucket) String() string { return "s3://" + b.name }

// Has implements Cache. Who may not list a bucket is told that he may not see what is not there.
func (b *bucket) Has(ctx context.Context, name string) (bool, error) {
	w := begin(ctx, b.patience, 0)
	_, err := b.client.StatObject(w.ctx, b.name, name, minio.StatObjectOptions{})
	return there(w.end(err))
}

// there is what an error of S3 means.
func there(err error) (bool, error) {
	switch minio.ToErrorResponse(err).StatusCode {
	case http.StatusNotFound, http.StatusForbidden:
		return false, nil
	}
	return err == nil, err
}

// Get implements Cache.
func (b *bucket) Get(ctx context.Context, name string) ([]byte, bool, error) {
	w := begin(ctx, b.patience, 0)
	o, err := b.client.GetObject(w.ctx, b.name, name, minio.GetObjectOptions{})
	var said []byte
	if err == nil {
		said, err = io.ReadAll(io.LimitReader(o, maxGot))
		_ = o.Close() // it was read
	}
	ok, err := there(w.end(err))
	return said, ok, err
}

// Put implements Cache.
func (b *bucket) Put(ctx context.Context, name string, o Object) error {
	w := begin(ctx, b.patience, o.Size)
	// The length and, over TLS, the connection say that all has come; the archive's hash is in its description.
	_, err := b.client.PutObject(w.ctx, b.name, name, o.reader(), o.Size, minio.PutObjectOptions{ContentType: o.Type, DisableContentSha256: true, SendContentMd5: true})
	if err = w.end(err); minio.ToErrorResponse(err).Code == minio.EntityTooLarge {
		err = &RefusedError{err}
	}
	return err
}
