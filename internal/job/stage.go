package job

// StageName names one of the runner's own steps through a job. The names are those of GitLab
// Runner's log sections (common/build.go, BuildStage).
type StageName string

// The stages in their fixed order.
const (
	StagePrepareExecutor   StageName = "prepare_executor"
	StagePrepareScript     StageName = "prepare_script"
	StageGetSources        StageName = "get_sources"
	StageRestoreCache      StageName = "restore_cache"
	StageDownloadArtifacts StageName = "download_artifacts"
	StageStepScript        StageName = "step_script"
	StageAfterScript       StageName = "after_script"
	StageArchiveCache      StageName = "archive_cache"
	StageArchiveCacheFail  StageName = "archive_cache_on_failure"
	StageUploadSuccess     StageName = "upload_artifacts_on_success"
	StageUploadFailure     StageName = "upload_artifacts_on_failure"
	StageCleanup           StageName = "cleanup_file_variables"
)
