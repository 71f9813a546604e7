plugins {
    id("com.android.application") version "9.0.0" // compiles Kotlin by itself; needs Gradle 9.1, JDK 17
}

android {
    namespace = "com.example.bertmobile"
    compileSdk = 36

    defaultConfig {
        applicationId = "com.example.bertmobile"
        minSdk = 24 // ONNX Runtime's
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
        ndk {
            abiFilters.addAll(listOf("arm64-v8a", "x86_64")) // phones, and the emulator
        }
    }
    androidResources {
        noCompress.add("onnx") // packed weights do not shrink
    }
}

dependencies {
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.27.0")
}
