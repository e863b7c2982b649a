//! What the encoded descriptors say of services: as much of protobuf's `descriptor.proto` as that takes.

use prost::Message;

#[derive(Message)]
struct FileDescriptorSet {
    #[prost(message, repeated, tag = "1")]
    file: Vec<FileDescriptor>,
}

#[derive(Message)]
struct FileDescriptor {
    #[prost(string, tag = "2")]
    package: String,
    #[prost(message, repeated, tag = "6")]
    service: Vec<ServiceDescriptor>,
}

#[derive(Message)]
struct ServiceDescriptor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, repeated, tag = "2")]
    method: Vec<MethodDescriptor>,
}

#[derive(Message)]
struct MethodDescriptor {
    #[prost(string, tag = "1")]
    name: String,
}

/// The paths of all methods.
pub fn methods(descriptors: &[u8]) -> Vec<String> {
    // They are our own, made when this crate was built; none that cannot be read name no method.
    let set = FileDescriptorSet::decode(descriptors).unwrap_or_default();
    let services = set.file.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
    let path = |package: &str, service: &str, method: &str| format!("/{package}.{service}/{method}");
    services
        .flat_map(|(file, service)| {
            service.method.iter().map(|method| path(&file.package, &service.name, &method.name))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_method_has_the_path_it_is_called_by() {
        let methods = crate::methods();
        for path in ["/diachron.v1.Peer/Query", "/diachron.v1.Transactor/Transact", "/diachron.v1.Storage/ReadLog"] {
            assert!(methods.iter().any(|method| method == path), "{path} is not among {methods:?}");
        }
    }
}
