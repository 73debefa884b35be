//! What differs between S3 providers, as data (rclone 1.75 `backend/s3/provider/*.yaml`; `docs/compat-rclone.md`, "S3").

/// How one provider's service differs from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks {
    /// `host/bucket/key` instead of `bucket.host/key`.
    pub path_style: bool,
    /// ListObjects instead of ListObjectsV2.
    pub list_v1: bool,
    /// Ask for percent-encoded keys in listings.
    pub url_encode: bool,
    /// The ETag of a multipart upload is `MD5(part MD5s)-N` and is checked.
    pub multipart_etag: bool,
    /// BucketAlreadyExists does not tell whose bucket it is and is no error.
    pub lenient_exists: bool,
    /// Multipart uploads exist.
    pub multipart: bool,
    /// Bodies may go unsigned over plain http.
    pub unsigned_payload: bool,
    /// An ETag that looks like an MD5 is one.
    pub etag_is_md5: bool,
    /// CopyObject exists.
    pub copy: bool,
    /// Copies are never multipart.
    pub copy_whole: bool,
    /// DeleteObjects exists.
    pub batch_delete: bool,
    /// Requests name their operation in `x-id`.
    pub x_id: bool,
    /// Most parts that one upload may have.
    pub max_parts: u64,
    /// Smallest part size in bytes, when above the common 5 MiB.
    pub min_part: u64,
}

const PLAIN: Quirks = Quirks {
    path_style: false,
    list_v1: false,
    url_encode: true,
    multipart_etag: true,
    lenient_exists: false,
    multipart: true,
    unsigned_payload: true,
    etag_is_md5: true,
    copy: true,
    copy_whole: false,
    batch_delete: true,
    x_id: true,
    max_parts: 10_000,
    min_part: 5 << 20,
};

#[derive(Clone, Copy)]
enum Q {
    Path,
    V1,
    NoUrl,
    NoEtag,
    Lenient,
    NoMultipart,
    Signed,
    EtagNotMd5,
    NoCopy,
    CopyWhole,
    NoBatch,
    NoXId,
    MaxParts(u64),
    MinPart(u64),
}

use Q::{
    CopyWhole, EtagNotMd5, Lenient, MaxParts, MinPart, NoBatch, NoCopy, NoEtag, NoMultipart, NoUrl, NoXId, Path,
    Signed, V1,
};

const TABLE: &[(&[&str], &[Q])] = &[
    (&["Exaba", "Minio", "Outscale", "Scality", "SpectraLogic", "Zadara", "FlashBlade"], &[Path]),
    (&["ImpossibleCloud", "Linode", "OVHcloud", "Wasabi"], &[]),
    (&["Rabata"], &[NoCopy]),
    (&["Other", "IBMCOS", "Magalu", "SeaweedFS"], &[Path, V1, NoUrl, NoEtag, Lenient]),
    (&["Ceph", "ArvanCloud", "ChinaMobile"], &[Path, V1, NoUrl, Lenient]),
    (&["BizflyCloud", "Liara", "Qiniu"], &[Path, NoUrl, NoEtag, Lenient]),
    (&["Hetzner", "Leviia", "Petabox"], &[Lenient]),
    (&["LyveCloud", "RackCorp", "Synology"], &[NoEtag, Lenient]),
    (&["Alibaba", "Cubbit"], &[NoEtag]),
    (&["DigitalOcean", "Dreamhost"], &[NoUrl, Lenient]),
    (&["IONOS", "ZeroServices"], &[Path, NoUrl, Lenient]),
    (&["Mega", "Rclone"], &[Path, NoEtag, Lenient, CopyWhole]),
    (&["Selectel", "Servercore"], &[NoUrl]),
    (&["TencentCOS", "us3", "US3"], &[V1, NoEtag, Lenient]),
    (&["AWS"], &[Signed]),
    (&["Cloudflare"], &[Path, NoEtag]),
    (&["Fastly"], &[Path, NoEtag, Lenient, NoMultipart, EtagNotMd5, NoCopy]),
    (&["FileLu"], &[Path, NoUrl, NoEtag]),
    (&["GCS"], &[NoXId, CopyWhole, NoBatch]),
    (&["HCP"], &[Path, NoEtag]),
    (&["HuaweiOBS"], &[V1, NoUrl, Lenient]),
    (&["IDrive"], &[Path, Lenient]),
    (&["Intercolo"], &[Signed]),
    (&["Netease"], &[V1, NoUrl, NoEtag, Lenient]),
    (&["Scaleway"], &[MaxParts(1000)]),
    (&["Storj"], &[Lenient, CopyWhole, MinPart(64 << 20)]),
    (&["Zata"], &[NoEtag, Lenient, Signed]),
];

impl Quirks {
    /// The row of a provider, exact case; `None` for a name that is not known, which then means [`Quirks::other`].
    pub fn of(provider: &str) -> Option<Self> {
        let (_, row) = TABLE.iter().find(|(names, _)| names.contains(&provider))?;
        Some(row.iter().fold(PLAIN, |quirks, q| quirks.with(*q)))
    }

    /// The most careful row: any S3 server.
    pub fn other() -> Self {
        [Path, V1, NoUrl, NoEtag, Lenient].into_iter().fold(PLAIN, Self::with)
    }

    fn with(mut self, quirk: Q) -> Self {
        match quirk {
            Path => self.path_style = true,
            V1 => self.list_v1 = true,
            NoUrl => self.url_encode = false,
            NoEtag => self.multipart_etag = false,
            Lenient => self.lenient_exists = true,
            NoMultipart => self.multipart = false,
            Signed => self.unsigned_payload = false,
            EtagNotMd5 => self.etag_is_md5 = false,
            NoCopy => self.copy = false,
            CopyWhole => self.copy_whole = true,
            NoBatch => self.batch_delete = false,
            NoXId => self.x_id = false,
            MaxParts(n) => self.max_parts = n,
            MinPart(n) => self.min_part = n,
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(provider: &str) -> String {
        let Some(q) = Quirks::of(provider) else { return "unknown".into() };
        let all = [
            (q.path_style, "path"),
            (q.list_v1, "v1"),
            (!q.url_encode, "nourl"),
            (!q.multipart_etag, "noetag"),
            (q.lenient_exists, "lenient"),
            (!q.unsigned_payload, "signed"),
            (!q.copy, "nocopy"),
            (!q.multipart, "nomultipart"),
        ];
        all.iter().filter(|(set, _)| *set).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn providers_differ_as_in_rclone() {
        let cases = [
            ("AWS", "signed"),
            ("Minio", "path"),
            ("Other", "path v1 nourl noetag lenient"),
            ("Ceph", "path v1 nourl lenient"),
            ("Cloudflare", "path noetag"),
            ("Fastly", "path noetag lenient nocopy nomultipart"),
            ("GCS", ""),
            ("Wasabi", ""),
            ("Rclone", "path noetag lenient"),
            ("TencentCOS", "v1 noetag lenient"),
            ("minio", "unknown"),
            ("", "unknown"),
        ];
        for (provider, expect) in cases {
            assert_eq!(flags(provider), expect, "{provider}");
        }
        assert_eq!(Quirks::of("Other"), Some(Quirks::other()));
        assert_eq!(Quirks::of("Scaleway").map(|q| q.max_parts), Some(1000));
    }

    #[test]
    fn no_provider_is_named_twice() {
        let mut names: Vec<_> = TABLE.iter().flat_map(|(names, _)| *names).collect();
        let before = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), before);
    }
}
