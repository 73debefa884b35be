//! Operations on buckets.

use s3s::dto::{
    Bucket, BucketLocationConstraint, CreateBucketInput, CreateBucketOutput, DeleteBucketInput, DeleteBucketOutput,
    GetBucketLocationInput, GetBucketLocationOutput, HeadBucketInput, HeadBucketOutput, ListBucketsInput,
    ListBucketsOutput,
};
use s3s::{S3Request, S3Result};

use super::{Api, owner};

pub(super) fn list(api: &Api, _: S3Request<ListBucketsInput>) -> S3Result<ListBucketsOutput> {
    let bucket = |(name, created): (String, std::time::SystemTime)| Bucket {
        name: Some(name),
        creation_date: Some(created.into()),
        ..Bucket::default()
    };
    let buckets = api.store.buckets().into_iter().map(bucket).collect();
    Ok(ListBucketsOutput { buckets: Some(buckets), owner: Some(owner()), ..Default::default() })
}

pub(super) fn create(api: &Api, req: S3Request<CreateBucketInput>) -> S3Result<CreateBucketOutput> {
    api.store.create_bucket(&req.input.bucket)?;
    Ok(CreateBucketOutput { location: Some(format!("/{}", req.input.bucket)) })
}

pub(super) fn head(api: &Api, req: S3Request<HeadBucketInput>) -> S3Result<HeadBucketOutput> {
    api.store.check_bucket(&req.input.bucket)?;
    Ok(HeadBucketOutput { bucket_region: Some(api.region.clone()), ..Default::default() })
}

pub(super) fn delete(api: &Api, req: S3Request<DeleteBucketInput>) -> S3Result<DeleteBucketOutput> {
    api.store.delete_bucket(&req.input.bucket)?;
    Ok(DeleteBucketOutput::default())
}

pub(super) fn location(api: &Api, req: S3Request<GetBucketLocationInput>) -> S3Result<GetBucketLocationOutput> {
    api.store.check_bucket(&req.input.bucket)?;
    // The first region has no location constraint.
    let constraint = (api.region != "us-east-1").then(|| BucketLocationConstraint::from(api.region.clone()));
    Ok(GetBucketLocationOutput { location_constraint: constraint })
}
