package config

// Cache is [runners.cache]: where caches are kept beyond the machine.
type Cache struct {
	Type                   string `toml:"Type" flag:"type" env:"CACHE_TYPE" state:"todo"`
	Path                   string `toml:"Path" flag:"path" env:"CACHE_PATH" state:"todo"`
	Shared                 bool   `toml:"Shared" flag:"shared" env:"CACHE_SHARED" state:"todo"`
	MaxUploadedArchiveSize int64  `toml:"MaxUploadedArchiveSize" flag:"max_uploaded_archive_size" env:"CACHE_MAXIMUM_UPLOADED_ARCHIVE_SIZE"`
	S3                     *S3    `toml:"s3" ns:"s3" state:"todo"`
	GCS                    *GCS   `toml:"gcs" ns:"gcs" state:"todo"`
	Azure                  *Azure `toml:"azure" ns:"azure" state:"todo"`
}

// S3 is [runners.cache.s3].
type S3 struct {
	ServerAddress                       string `toml:"ServerAddress" flag:"server-address" env:"CACHE_S3_SERVER_ADDRESS"`
	AccessKey                           string `toml:"AccessKey" flag:"access-key" env:"CACHE_S3_ACCESS_KEY"`
	SecretKey                           string `toml:"SecretKey" flag:"secret-key" env:"CACHE_S3_SECRET_KEY"`
	SessionToken                        string `toml:"SessionToken" flag:"session-token" env:"CACHE_S3_SESSION_TOKEN"`
	BucketName                          string `toml:"BucketName" flag:"bucket-name" env:"CACHE_S3_BUCKET_NAME"`
	BucketLocation                      string `toml:"BucketLocation" flag:"bucket-location" env:"CACHE_S3_BUCKET_LOCATION"`
	Insecure                            bool   `toml:"Insecure" flag:"insecure" env:"CACHE_S3_INSECURE"`
	AuthenticationType                  string `toml:"AuthenticationType" flag:"authentication_type" env:"CACHE_S3_AUTHENTICATION_TYPE"`
	ServerSideEncryption                string `toml:"ServerSideEncryption" flag:"server-side-encryption" env:"CACHE_S3_SERVER_SIDE_ENCRYPTION"`
	ServerSideEncryptionKeyID           string `toml:"ServerSideEncryptionKeyID" flag:"server-side-encryption-key-id" env:"CACHE_S3_SERVER_SIDE_ENCRYPTION_KEY_ID"`
	DualStack                           *bool  `toml:"DualStack" flag:"dual-stack" env:"CACHE_S3_DUAL_STACK" state:"todo"`
	PathStyle                           *bool  `toml:"PathStyle" flag:"path-style" env:"CACHE_S3_PATH_STYLE"`
	Accelerate                          bool   `toml:"Accelerate" flag:"accelerate" env:"CACHE_S3_ACCELERATE" state:"todo"`
	RoleARN                             string `toml:"RoleARN" flag:"role-arn" env:"CACHE_S3_ROLE_ARN" state:"todo"`
	UploadRoleARN                       string `toml:"UploadRoleARN" flag:"upload-role-arn" env:"CACHE_S3_UPLOAD_ROLE_ARN" state:"todo"`
	AssumeRoleMaxConcurrency            int    `toml:"AssumeRoleMaxConcurrency" flag:"assume-role-max-concurrency" env:"CACHE_S3_ASSUME_ROLE_MAX_CONCURRENCY" state:"todo"`
	DisableAssumeRoleCredentialsCaching bool   `toml:"DisableAssumeRoleCredentialsCaching" flag:"disable-assume-role-credentials-caching" env:"CACHE_S3_DISABLE_ASSUME_ROLE_CREDENTIALS_CACHING" state:"todo"`
}

// GCS is [runners.cache.gcs].
type GCS struct {
	AccessID        string `toml:"AccessID" flag:"access-id" env:"CACHE_GCS_ACCESS_ID"`
	PrivateKey      string `toml:"PrivateKey" flag:"private-key" env:"CACHE_GCS_PRIVATE_KEY"`
	CredentialsFile string `toml:"CredentialsFile" flag:"credentials-file" env:"GOOGLE_APPLICATION_CREDENTIALS"`
	BucketName      string `toml:"BucketName" flag:"bucket-name" env:"CACHE_GCS_BUCKET_NAME"`
	UniverseDomain  string `toml:"UniverseDomain" flag:"universe-domain" env:"CACHE_GCS_UNIVERSE_DOMAIN" state:"todo"`
}

// Azure is [runners.cache.azure].
type Azure struct {
	AccountName   string `toml:"AccountName" flag:"account-name" env:"CACHE_AZURE_ACCOUNT_NAME"`
	AccountKey    string `toml:"AccountKey" flag:"account-key" env:"CACHE_AZURE_ACCOUNT_KEY"`
	ContainerName string `toml:"ContainerName" flag:"container-name" env:"CACHE_AZURE_CONTAINER_NAME"`
	StorageDomain string `toml:"StorageDomain" flag:"storage-domain" env:"CACHE_AZURE_STORAGE_DOMAIN"`
}
