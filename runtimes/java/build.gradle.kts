// The module :edgekit of an Android project; see README.md.
plugins {
    id("com.android.library")
    // Android's plugin 9 compiles src/main/kotlin by itself. With 8, add this, at the version that the project has:
    // id("org.jetbrains.kotlin.android")
}

android {
    namespace = "dev.edgekit"
    compileSdk = 36

    defaultConfig {
        minSdk = 21
        consumerProguardFiles("consumer-rules.pro")
        ndk {
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
        externalNativeBuild {
            cmake {
                arguments += listOf("-DANDROID_STL=none", "-DANDROID_SUPPORT_FLEXIBLE_PAGE_SIZES=ON")
            }
        }
    }

    externalNativeBuild {
        cmake {
            path = file("src/main/cpp/CMakeLists.txt")
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_1_8
        targetCompatibility = JavaVersion.VERSION_1_8
    }
}

dependencies {
    // Of SessionFlow.kt alone; what an app does not use, its shrinker leaves out.
    api("org.jetbrains.kotlinx:kotlinx-coroutines-core:1.8.1")
}
